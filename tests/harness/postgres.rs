//! A PostgreSQL server of the tests' own.
//!
//! One for the whole test process ([`Postgres::shared`]), with a database for each test, or one that a test may halt
//! and start again, and give a standby. A shell beside it waits for the end of the test process, however that comes,
//! and ends the server then. PostgreSQL refuses to run as root; for root it runs as the user `postgres` of Debian's
//! package.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{fs, thread};

use crate::registry::free_port;
use crate::{Certificates, eventually, find_program};

/// Where Debian has the server's programs, which are not in the path.
const DEBIAN_PROGRAMS: &str = "/usr/lib/postgresql";
/// Who it runs as when the tests run as root.
const USER: &str = "postgres";

/// Where a server is reached.
const ADDRESS: &str = "127.0.0.1";
/// Where a standby is reached, at the same port: a list of hosts has one port for all.
const STANDBY_ADDRESS: &str = "127.0.0.2";

/// Ends the server when told so by a line, or by the end of whoever started it; then the directory goes as well.
const SUPERVISOR: &str = r#"
"$@" & server=$!
read word || word=gone
kill -QUIT $server; wait $server
[ "$word" = halt ] || rm -rf "$DIRECTORY"
"#;

/// A PostgreSQL server; dropping it ends it and removes its data.
#[derive(Debug)]
pub struct Postgres {
    directory: PathBuf,
    address: &'static str,
    port: u16,
    supervisor: Option<Child>,
}

/// A database on such a server, dropped with the server.
#[derive(Clone, Debug)]
pub struct PostgresDatabase {
    directory: PathBuf,
    address: &'static str,
    port: u16,
    name: String,
}

impl Postgres {
    /// The server that all tests of this process share.
    #[must_use]
    pub fn shared() -> &'static Postgres {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(Postgres::start)
    }

    /// A server of this test alone.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start() -> Postgres {
        let mut server = Postgres {
            port: free_port(),
            address: ADDRESS,
            directory: directory(),
            supervisor: None,
        };
        // A language whose order is not that of bytes, as an operator's may be.
        let mut made = as_user(&program("initdb"));
        made.args(["--no-sync", "--auth=trust", "--username=holdfast"])
            .args(["--encoding=UTF8", "--locale=C.UTF-8"])
            .args(["--locale-provider=icu", "--icu-locale=en-US", "--pgdata"])
            .arg(server.data());
        run(made);
        server.resume();
        server
    }

    /// A standby that follows this server as fast as it can, and has the same port at another address.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn standby(&self) -> Postgres {
        let mut standby = Postgres {
            port: self.port,
            address: STANDBY_ADDRESS,
            directory: directory(),
            supervisor: None,
        };
        let mut copied = as_user(&program("pg_basebackup"));
        copied
            .args(["--no-sync", "--checkpoint=fast", "--write-recovery-conf"])
            .args(["--username=holdfast", "--host"])
            .arg(&self.directory)
            .arg(format!("--port={}", self.port))
            .arg("--pgdata")
            .arg(standby.data());
        run(copied);
        standby.resume();
        standby
    }

    /// Offers encryption from now on, by the server's certificate of these.
    ///
    /// # Panics
    /// When it cannot.
    pub fn encrypt(&self, certificates: &Certificates) {
        for (from, name) in [
            (&certificates.server, "server.crt"),
            (&certificates.server_key, "server.key"),
        ] {
            let file = self.data().join(name);
            fs::copy(from, &file).expect("copying a certificate");
            give(&file, 0o600);
        }
        self.set("ssl", "on");
    }

    /// Changes a setting that needs no new start.
    ///
    /// # Panics
    /// When the server refuses.
    pub fn set(&self, name: &str, value: &str) {
        let everyone = self.named("postgres");
        everyone.execute(&format!("ALTER SYSTEM SET {name} = '{value}'"));
        everyone.execute("SELECT pg_reload_conf()");
        eventually("the new setting", || {
            everyone.query(&format!("SHOW {name}")) == value
        });
    }

    /// Starts the server again after [`halt`](Self::halt).
    ///
    /// # Panics
    /// When it does not start.
    pub fn resume(&mut self) {
        let log = fs::File::create(self.directory.join("log")).expect("opening PostgreSQL's log");
        let errors = log.try_clone().expect("duplicating PostgreSQL's log");
        let server = as_user(&program("postgres"));
        let mut supervisor = Command::new("sh");
        supervisor
            .args(["-c", SUPERVISOR, "supervisor"])
            .arg(server.get_program())
            .args(server.get_args())
            .arg("-D")
            .arg(self.data())
            .arg("-k")
            .arg(&self.directory)
            .args(["-h", self.address, "-p", &self.port.to_string()]);
        for setting in [
            "fsync=off",
            "full_page_writes=off",
            "max_connections=300",
            "deadlock_timeout=200ms",
        ] {
            supervisor.args(["-c", setting]);
        }
        supervisor
            .env("DIRECTORY", &self.directory)
            .stdin(Stdio::piped())
            .stdout(log)
            .stderr(errors);
        self.supervisor = Some(supervisor.spawn().expect("starting PostgreSQL"));
        let everyone = self.named("postgres");
        eventually("PostgreSQL answers", || {
            everyone.try_query("SELECT 1").is_ok()
        });
    }

    /// Ends the server at once, as a crash would. Its data stay.
    ///
    /// # Panics
    /// When it does not end.
    pub fn halt(&mut self) {
        if let Some(mut supervisor) = self.supervisor.take() {
            let mut words = supervisor.stdin.take().expect("a pipe to the supervisor");
            words.write_all(b"halt\n").expect("halting PostgreSQL");
            drop(words);
            supervisor.wait().expect("waiting for PostgreSQL's end");
        }
    }

    /// A new, empty database.
    ///
    /// # Panics
    /// When the server refuses.
    #[must_use]
    pub fn database(&self) -> PostgresDatabase {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("test{}", MADE.fetch_add(1, Ordering::Relaxed));
        self.named("postgres")
            .execute(&format!("CREATE DATABASE {name}"));
        self.named(&name)
    }

    /// All the server has said since its last start.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// A database by its name: a standby has those of its primary.
    #[must_use]
    pub fn named(&self, name: &str) -> PostgresDatabase {
        PostgresDatabase {
            directory: self.directory.clone(),
            address: self.address,
            port: self.port,
            name: name.to_owned(),
        }
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(mut supervisor) = self.supervisor.take() {
            drop(supervisor.stdin.take());
            let _ = supervisor.wait();
        } else {
            let _ = fs::remove_dir_all(&self.directory);
        }
        if thread::panicking() {
            eprintln!("--- PostgreSQL's log\n{}---", self.log());
        }
    }
}

impl PostgresDatabase {
    /// How the driver is told where it is.
    #[must_use]
    pub fn connection(&self) -> String {
        format!(
            "host={} port={} user=holdfast dbname={}",
            self.directory.display(),
            self.port,
            self.name
        )
    }

    /// The same as a URL, over TCP.
    #[must_use]
    pub fn url(&self) -> String {
        format!(
            "postgres://holdfast@{}:{}/{}",
            self.address, self.port, self.name
        )
    }

    /// The server's port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs SQL; the rows, a line each, columns apart by `|`.
    ///
    /// # Panics
    /// When the server refuses.
    #[track_caller]
    #[must_use]
    pub fn query(&self, sql: &str) -> String {
        self.try_query(sql)
            .unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Runs SQL whose answer nobody wants.
    ///
    /// # Panics
    /// When the server refuses.
    #[track_caller]
    pub fn execute(&self, sql: &str) {
        let _ = self.query(sql);
    }

    /// Runs SQL, for its rows or the server's error.
    ///
    /// # Errors
    /// When the server refuses, or there is none.
    pub fn try_query(&self, sql: &str) -> Result<String, String> {
        let output = Command::new(program("psql"))
            .args(["--no-psqlrc", "--quiet", "--no-align", "--tuples-only"])
            .args(["--set=ON_ERROR_STOP=1", "--username=holdfast", "--host"])
            .arg(&self.directory)
            .arg(format!("--port={}", self.port))
            .arg(format!("--dbname={}", self.name))
            .args(["--command", sql])
            .stdin(Stdio::null())
            .output()
            .expect("running psql");
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout)
                .trim_end()
                .to_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A directory for a server's files, which is its own.
fn directory() -> PathBuf {
    let directory = tempfile::Builder::new()
        .prefix("holdfast-postgres-")
        .tempdir()
        .expect("making a directory for PostgreSQL")
        .keep();
    give(&directory, 0o700);
    directory
}

/// Makes this PostgreSQL's own.
fn give(path: &Path, mode: u32) {
    if is_root() {
        let user = Command::new("id").args(["-u", USER]).output();
        let user = user.expect("asking for a user's number").stdout;
        let user: u32 = String::from_utf8_lossy(&user)
            .trim()
            .parse()
            .expect("the user postgres, of Debian's package postgresql");
        std::os::unix::fs::chown(path, Some(user), Some(user))
            .expect("giving PostgreSQL what is its own");
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .expect("closing what is PostgreSQL's");
}

/// Runs one of PostgreSQL's programs to its end.
fn run(mut command: Command) {
    let output = command.stdin(Stdio::null()).output();
    let output = output.expect("running one of PostgreSQL's programs");
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A command that runs as somebody PostgreSQL runs for.
fn as_user(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", USER, "--regid", USER, "--clear-groups", "--"]);
    command.arg(program);
    command
}

/// One of PostgreSQL's programs: the newest of Debian's, or the one in the path.
fn program(name: &str) -> PathBuf {
    let versions = fs::read_dir(DEBIAN_PROGRAMS).into_iter().flatten();
    let newest = versions
        .filter_map(|version| Some(version.ok()?.path().join("bin").join(name)))
        .filter(|path| path.is_file())
        .max();
    newest.unwrap_or_else(|| find_program(name))
}
