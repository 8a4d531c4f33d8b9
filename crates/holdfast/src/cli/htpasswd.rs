//! The `htpasswd` applet: Apache's tool for password files, with bcrypt and nothing weaker.

use std::ffi::OsString;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use crate::access::{BCRYPT_COST, parse_htpasswd};

/// Longest password that bcrypt looks at, in bytes.
const MAX_PASSWORD_BYTES: usize = 72;

/// Longest user name, as in Apache's tool.
const MAX_NAME_BYTES: usize = 255;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Hash with bcrypt. Always so; the flag is accepted for the sake of scripts.
    #[arg(short = 'B')]
    bcrypt: bool,
    /// Take the password from the command line.
    #[arg(short = 'b', conflicts_with = "stdin")]
    batch: bool,
    /// Read the password from standard input, without asking twice.
    #[arg(short = 'i')]
    stdin: bool,
    /// Print the line instead of changing a file.
    #[arg(short = 'n', conflicts_with_all = ["create", "delete", "verify"])]
    print: bool,
    /// Create the file, replacing one that is there.
    #[arg(short = 'c')]
    create: bool,
    /// Remove the user.
    #[arg(short = 'D', conflicts_with_all = ["create", "verify"])]
    delete: bool,
    /// Check the user's password; exit 3 when it is wrong.
    #[arg(short = 'v', conflicts_with = "create")]
    verify: bool,
    /// Cost of bcrypt, 4 to 17.
    #[arg(short = 'C', value_name = "COST", default_value_t = BCRYPT_COST, value_parser = clap::value_parser!(u32).range(4..=17))]
    cost: u32,
    /// [passwordfile] username [password]
    #[arg(value_name = "ARGUMENTS", required = true, num_args = 1..=3)]
    words: Vec<String>,
}

#[derive(Parser)]
#[command(
    name = "htpasswd",
    about = "Make, change or check users of a password file, with bcrypt"
)]
struct Applet {
    #[command(flatten)]
    arguments: Arguments,
}

/// Runs as a program of its own.
pub(super) fn run_applet(arguments: Vec<OsString>) -> ExitCode {
    match Applet::try_parse_from(arguments) {
        Ok(applet) => run(&applet.arguments),
        Err(error) => {
            let code = if error.use_stderr() {
                ExitCode::from(2)
            } else {
                ExitCode::SUCCESS
            };
            let _ = error.print();
            code
        }
    }
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    match act(arguments) {
        Ok(code) => code,
        Err((code, error)) => {
            eprintln!("htpasswd: {error}");
            ExitCode::from(code)
        }
    }
}

/// Apache's exit codes: 1 for files, 2 for the command line, 3 for a wrong password, 5 for what is too long, 6 for a bad name.
type Failure = (u8, String);

fn act(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let wanted =
        usize::from(!arguments.print) + 1 + usize::from(arguments.batch && !arguments.delete);
    if arguments.words.len() != wanted {
        let usage = if arguments.print {
            "htpasswd -n[bi] username [password]"
        } else {
            "htpasswd [-cbiDv] passwordfile username [password]"
        };
        return Err((
            2,
            format!(
                "expected {wanted} arguments, found {}: {usage}",
                arguments.words.len()
            ),
        ));
    }
    let mut words = arguments.words.iter();
    let file = if arguments.print {
        None
    } else {
        words.next().map(PathBuf::from)
    };
    let name = words.next().map(String::as_str).unwrap_or_default();
    if name.is_empty() || name.contains([':', '\n', '\r']) {
        return Err((6, "a user name has no colon and is not empty".to_owned()));
    }
    if name.len() > MAX_NAME_BYTES {
        return Err((5, format!("a user name has at most {MAX_NAME_BYTES} bytes")));
    }
    if let (true, Some(file)) = (arguments.delete, &file) {
        return rewrite(file, name, None, false).map(|()| {
            eprintln!("Deleting password for user {name}");
            ExitCode::SUCCESS
        });
    }
    let password = password(arguments, words.next())?;
    if let (true, Some(file)) = (arguments.verify, &file) {
        let (users, _) = parse_htpasswd(&read(file)?);
        let hash = users
            .get(name)
            .ok_or_else(|| (6, format!("user {name} not found")))?;
        return if bcrypt::verify(&password, hash).unwrap_or(false) {
            eprintln!("Password for user {name} correct.");
            Ok(ExitCode::SUCCESS)
        } else {
            Err((3, "password verification failed".to_owned()))
        };
    }
    let hash = bcrypt::hash_with_result(&password, arguments.cost)
        .map_err(|error| (1, error.to_string()))?;
    let line = format!("{name}:{}", hash.format_for_version(bcrypt::Version::TwoY));
    match file {
        None => println!("{line}\n"),
        Some(file) => rewrite(&file, name, Some(&line), arguments.create)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn password(arguments: &Arguments, word: Option<&String>) -> Result<String, Failure> {
    let password = if let Some(word) = word {
        word.clone()
    } else if arguments.stdin {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .map_err(|error| (1, error.to_string()))?;
        text.trim_end_matches(['\n', '\r']).to_owned()
    } else {
        let ask = |prompt: &str| {
            rpassword::prompt_password(prompt).map_err(|error| {
            (1, format!("cannot ask for the password: {error}; use -i to read it from standard input, or -b"))
        })
        };
        let first = ask("New password: ")?;
        if !arguments.verify && ask("Re-type new password: ")? != first {
            return Err((3, "password verification error".to_owned()));
        }
        first
    };
    if password.len() > MAX_PASSWORD_BYTES {
        return Err((
            5,
            format!("bcrypt looks at {MAX_PASSWORD_BYTES} bytes of a password, this one is longer"),
        ));
    }
    Ok(password)
}

fn read(file: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(file).map_err(|error| {
        let hint = if error.kind() == std::io::ErrorKind::NotFound {
            "; -c creates it"
        } else {
            ""
        };
        (1, format!("cannot read {}: {error}{hint}", file.display()))
    })
}

/// Replaces, adds or removes the user's line; the file changes as a whole or not at all.
fn rewrite(file: &Path, name: &str, line: Option<&str>, create: bool) -> Result<(), Failure> {
    let old = if create { String::new() } else { read(file)? };
    let prefix = format!("{name}:");
    let mut found = false;
    let mut new = String::new();
    for other in old.lines() {
        if other.starts_with(&prefix) {
            found = true;
            if let Some(line) = line {
                new.push_str(line);
                new.push('\n');
            }
        } else {
            new.push_str(other);
            new.push('\n');
        }
    }
    match line {
        Some(line) if !found => {
            new.push_str(line);
            new.push('\n');
        }
        None if !found => return Err((6, format!("user {name} not found"))),
        _ => {}
    }
    let failed = |error: std::io::Error| (1, format!("cannot write {}: {error}", file.display()));
    // Through a link to the file itself, which must stay a link.
    let target = std::fs::canonicalize(file).unwrap_or(file.to_owned());
    let directory = target
        .parent()
        .filter(|path| !path.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut temporary = tempfile::NamedTempFile::new_in(directory).map_err(failed)?;
    std::io::Write::write_all(&mut temporary, new.as_bytes()).map_err(failed)?;
    // The server reads it as another user: owner and mode stay as they were.
    if let Ok(metadata) = std::fs::metadata(&target) {
        std::fs::set_permissions(temporary.path(), metadata.permissions()).map_err(failed)?;
        std::os::unix::fs::chown(temporary.path(), Some(metadata.uid()), Some(metadata.gid()))
            .map_err(failed)?;
    }
    temporary.as_file().sync_all().map_err(failed)?;
    temporary
        .persist(&target)
        .map_err(|error| failed(error.error))?;
    Ok(())
}
