//! What the entrypoint script of the images `registry:2` and `registry:3` does, for an image without a shell.
//!
//! Our image has `/entrypoint.sh` as a link to this program, so whatever people write behind the name of the
//! image goes on working: a configuration, `serve …`, `garbage-collect …`, flags, or a whole command. Our own
//! verbs come on top, so that `docker run IMAGE htpasswd …` needs no second name.
//!
//! Source: docker-entrypoint.sh of distribution/distribution-library-image.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use clap::CommandFactory as _;

use super::Cli;

/// The name under which the program behaves as that script.
pub(super) const NAME: &str = "entrypoint.sh";

/// What shells answer when a command is not there.
const NOT_FOUND: u8 = 127;

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
enum Task {
    /// Run this program, with its own name in front.
    Here(Vec<OsString>),
    /// Run another.
    Other(Vec<OsString>),
}

/// Runs what the arguments ask for; the first is the name as called.
pub(super) fn run(arguments: Vec<OsString>) -> ExitCode {
    match task(arguments) {
        Task::Here(arguments) => super::run(arguments),
        Task::Other(words) => {
            let mut words = words.into_iter();
            let program = words.next().unwrap_or_default();
            // Comes back only if it fails.
            let error = Command::new(&program).args(words).exec();
            eprintln!("cannot run {}: {error}", program.display());
            ExitCode::from(NOT_FOUND)
        }
    }
}

fn task(arguments: Vec<OsString>) -> Task {
    let mut words = arguments;
    if words.is_empty() {
        words.push(NAME.into());
    }
    let Some(first) = words.get(1) else {
        words[0] = "registry".into();
        return Task::Here(words);
    };
    let extension = Path::new(first).extension();
    let text = first.to_string_lossy();
    if extension.is_some_and(|extension| extension == "yml" || extension == "yaml") {
        words.splice(..1, ["registry".into(), "serve".into()]);
        Task::Here(words)
    } else if matches!(&*text, "serve" | "garbage-collect" | "help") || text.starts_with('-') {
        words[0] = "registry".into();
        Task::Here(words)
    } else if Cli::command().find_subcommand(&*text).is_some() {
        words[0] = "holdfast".into();
        Task::Here(words)
    } else {
        words.remove(0);
        Task::Other(words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn words_become_what_the_script_makes_of_them() {
        let here = [
            ("", "registry"),
            (
                "/etc/docker/registry/config.yml",
                "registry serve /etc/docker/registry/config.yml",
            ),
            ("my.yaml --x", "registry serve my.yaml --x"),
            ("serve /c.yml", "registry serve /c.yml"),
            (
                "garbage-collect -m /c.yml",
                "registry garbage-collect -m /c.yml",
            ),
            ("help", "registry help"),
            ("--version", "registry --version"),
            (
                "htpasswd -Bbn ann secret",
                "holdfast htpasswd -Bbn ann secret",
            ),
            ("gc status", "holdfast gc status"),
            ("verify", "holdfast verify"),
        ];
        for (given, expected) in here {
            let called = words(&format!("/entrypoint.sh {given}"));
            assert_eq!(task(called), Task::Here(words(expected)), "{given}");
        }
        for other in ["registry serve /c.yml", "/bin/registry -v", "sh", ".yml/x"] {
            let called = words(&format!("/entrypoint.sh {other}"));
            assert_eq!(task(called), Task::Other(words(other)), "{other}");
        }
        assert_eq!(task(Vec::new()), Task::Here(words("registry")));
    }
}
