//! One run of a client program, with a deadline and a message that explains its failure.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{self, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long one client command may take before it counts as hung.
const DEADLINE: Duration = Duration::from_secs(120);
/// Pause between two looks at a running process.
const POLL: Duration = Duration::from_millis(5);

/// The path of an installed program: the tools directory first, then `PATH` and the system directories.
///
/// The tools directory is `HOLDFAST_TOOLS`, or `.cache/tools` in the repository, with `bin` below.
///
/// # Panics
/// When it is not installed: the message says what installs it.
#[must_use]
pub fn find_program(name: &str) -> PathBuf {
    look_up(name).unwrap_or_else(|| panic!("{name} is not installed: run scripts/test-tools"))
}

/// Where `scripts/test-tools` installs what is in no package of the system.
pub(crate) fn tools() -> PathBuf {
    std::env::var_os("HOLDFAST_TOOLS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache/tools"),
        PathBuf::from,
    )
}

fn look_up(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::iter::once(tools().join("bin"))
        .chain(std::env::split_paths(&path))
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
}

/// A client command being put together.
#[derive(Debug)]
pub struct Command {
    inner: process::Command,
    line: String,
    input: Vec<u8>,
}

impl Command {
    /// A command of an installed program, found by [`find_program`].
    #[must_use]
    pub fn new(program: &str) -> Self {
        Self::at(&find_program(program))
    }

    /// A command of the program at this path.
    #[must_use]
    pub fn at(program: &Path) -> Self {
        Self {
            inner: process::Command::new(program),
            line: program.display().to_string(),
            input: Vec::new(),
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        let argument = argument.as_ref();
        let _ = write!(self.line, " {}", argument.display());
        self.inner.arg(argument);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(self, arguments: impl IntoIterator<Item = A>) -> Self {
        arguments.into_iter().fold(self, Self::arg)
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.inner.env(name, value);
        self
    }

    /// Runs in this directory.
    #[must_use]
    pub fn directory(mut self, path: &Path) -> Self {
        self.inner.current_dir(path);
        self
    }

    /// Gives these bytes on standard input; without it the input is empty.
    #[must_use]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }

    /// Runs the command, which must succeed.
    ///
    /// # Panics
    /// When it fails or hangs, with all it printed.
    #[track_caller]
    pub fn run(self) -> Output {
        let output = self.finish();
        assert!(output.status.success(), "the command failed: {output}");
        output
    }

    /// Runs the command, which must fail: a refusal is what the test is about.
    ///
    /// # Panics
    /// When it succeeds or hangs, with all it printed.
    #[track_caller]
    pub fn refused(self) -> Output {
        let output = self.finish();
        assert!(
            output.status.code().is_some_and(|code| code != 0),
            "the command should have been refused: {output}"
        );
        output
    }

    /// Runs the command, whatever its exit status.
    ///
    /// # Panics
    /// When it cannot be started or hangs.
    #[track_caller]
    pub fn finish(mut self) -> Output {
        let mut input = scratch_file();
        input
            .write_all(&self.input)
            .expect("writing a command's input");
        input
            .seek(SeekFrom::Start(0))
            .expect("rewinding a command's input");
        let (stdout, stderr) = (scratch_file(), scratch_file());
        let mut child = self
            .inner
            .stdin(Stdio::from(input))
            .stdout(Stdio::from(duplicate(&stdout)))
            .stderr(Stdio::from(duplicate(&stderr)))
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start `{}`: {error}", self.line));

        let started = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().expect("waiting for a command") {
                break Some(status);
            }
            if started.elapsed() > DEADLINE {
                let _ = child.kill();
                let _ = child.wait();
                break None;
            }
            thread::sleep(POLL);
        };
        let output = Output {
            status: status.unwrap_or_default(),
            line: self.line,
            stdout: contents(stdout),
            stderr: contents(stderr),
        };
        assert!(status.is_some(), "no end after {DEADLINE:?}: {output}");
        output
    }
}

fn scratch_file() -> File {
    tempfile::tempfile().expect("making a temporary file")
}

fn duplicate(file: &File) -> File {
    file.try_clone().expect("duplicating a file handle")
}

fn contents(mut file: File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))
        .expect("rewinding a command's output");
    file.read_to_end(&mut bytes)
        .expect("reading a command's output");
    bytes
}

/// What a command left behind.
#[derive(Debug)]
pub struct Output {
    /// The exit status.
    pub status: ExitStatus,
    /// The bytes of standard output.
    pub stdout: Vec<u8>,
    /// The bytes of standard error.
    pub stderr: Vec<u8>,
    line: String,
}

impl Output {
    /// Standard output without the white space around it.
    ///
    /// # Panics
    /// When it is not UTF-8.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout)
            .expect("output in UTF-8")
            .trim()
    }

    /// The lines of standard output, sorted.
    #[must_use]
    pub fn sorted_lines(&self) -> Vec<&str> {
        let mut lines: Vec<_> = self.text().lines().map(str::trim).collect();
        lines.sort_unstable();
        lines
    }

    /// Standard output read as JSON.
    ///
    /// # Panics
    /// When it is not JSON.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout)
            .unwrap_or_else(|error| panic!("the output is not JSON ({error}): {self}"))
    }

    /// Asserts that one of the two outputs contains this text.
    ///
    /// # Panics
    /// When neither does.
    #[track_caller]
    pub fn mentions(&self, text: &str) {
        // Not the command line, which may hold the word itself.
        let said = [&self.stdout[..], &self.stderr[..]].concat();
        let said = String::from_utf8_lossy(&said).to_lowercase();
        assert!(
            said.contains(&text.to_lowercase()),
            "no `{text}` in: {self}"
        );
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "`{}` ({})", self.line, self.status)?;
        writeln!(
            f,
            "--- stdout\n{}",
            String::from_utf8_lossy(&self.stdout).trim_end()
        )?;
        writeln!(
            f,
            "--- stderr\n{}",
            String::from_utf8_lossy(&self.stderr).trim_end()
        )
    }
}
