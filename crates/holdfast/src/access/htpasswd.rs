//! Users and bcrypt passwords in a file, as Apache's `htpasswd -B` writes it.
//!
//! Like Distribution: only bcrypt counts (`$2a$`, `$2b$`, `$2y$`), a missing file is created with the user
//! `docker` and a random password that is logged once, and a changed file is read again without restart.
//! Unlike it: a line that cannot be read is reported and skipped, where Distribution refuses every request.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Semaphore;

use super::remembered::{Fingerprint, Remembered};
use super::{Denial, Result};
use crate::held::Held;
use crate::random;
use crate::watched::Watched;

/// Largest file that is read.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// Passwords that may wait for their check; those who bring more are told to come back.
const WAITING_CHECKS: usize = 64;

/// Highest cost that refusals of unknown users imitate; above it a check takes seconds.
const MAX_DUMMY_COST: u32 = 14;

/// Cost of the hashes made here.
pub(crate) const BCRYPT_COST: u32 = 10;

/// The users of a file, and what stands in for those it does not have.
struct Users {
    hashes: HashMap<String, String>,
    /// The highest cost among the hashes.
    cost: u32,
    /// A hash of that cost, checked for unknown users, so that their refusal takes as long as a wrong password.
    dummy: String,
}

/// The htpasswd realm.
pub struct Htpasswd {
    realm: String,
    users: Watched<Users>,
    remembered: Remembered,
    checking: Held<Fingerprint>,
    checks: Arc<Semaphore>,
    waiting: Semaphore,
}

impl Htpasswd {
    /// Reads the file, or creates it with one user.
    pub fn open(realm: String, path: PathBuf) -> std::result::Result<Htpasswd, String> {
        let failed =
            |error: io::Error| format!("cannot use the htpasswd file {}: {error}", path.display());
        if let Err(error) = std::fs::metadata(&path) {
            if error.kind() != io::ErrorKind::NotFound {
                return Err(failed(error));
            }
            create(&path).map_err(failed)?;
        }
        let users = Watched::new(vec![path.clone()], move || {
            load(&path).map_err(|error| {
                format!("cannot read the htpasswd file {}: {error}", path.display())
            })
        })?;
        // Half of the processors: password checks must not keep pulls from theirs.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let checks = Arc::new(Semaphore::new((cores / 2).max(1)));
        Ok(Htpasswd {
            realm,
            users,
            remembered: Remembered::new(),
            checking: Held::default(),
            checks,
            waiting: Semaphore::new(WAITING_CHECKS),
        })
    }

    /// The realm as the challenge shows it.
    pub fn realm(&self) -> &str {
        &self.realm
    }

    /// Whether the file has this user now.
    pub(crate) fn knows(&self, name: &str) -> bool {
        self.users.get().hashes.contains_key(name)
    }

    /// Whether this is a user of the file with his password.
    pub async fn verify(&self, name: &str, password: &str) -> Result<bool> {
        let users = self.users.get();
        let stored = users.hashes.get(name);
        let fingerprint = stored.map(|stored| self.remembered.fingerprint(name, password, stored));
        let known = |fingerprint| self.remembered.knows(&fingerprint, Instant::now());
        if fingerprint.is_some_and(known) {
            return Ok(true);
        }
        // A hundred nodes that log in as one user at once need one check.
        let _checking = match fingerprint {
            Some(fingerprint) => Some(self.checking.wait(fingerprint).await),
            None => None,
        };
        if fingerprint.is_some_and(known) {
            return Ok(true);
        }
        let _waiting = self
            .waiting
            .try_acquire()
            .map_err(|_| Denial::Unavailable)?;
        let permit = Arc::clone(&self.checks)
            .acquire_owned()
            .await
            .map_err(|_| Denial::Unavailable)?;
        let (hash, password, known) = (stored.cloned(), password.to_owned(), Arc::clone(&users));
        let checked = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let right = |hash: &str| bcrypt::verify(&password, hash).unwrap_or(false);
            if hash.as_deref().is_some_and(right) {
                return true;
            }
            // A refusal takes at least as long as for the strongest hash, whoever was asked for.
            if hash.is_none_or(|hash| cost(&hash) < known.cost) {
                right(&known.dummy);
            }
            false
        });
        let right = checked.await.map_err(|_| Denial::Unavailable)?;
        match fingerprint {
            Some(fingerprint) if right => {
                self.remembered.remember(fingerprint, Instant::now());
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}

fn load(path: &Path) -> io::Result<Users> {
    use io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?
        .take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("it is over {MAX_FILE_BYTES} bytes"),
        ));
    }
    let (users, refused) = parse(&String::from_utf8_lossy(&bytes));
    for (line, reason) in refused {
        tracing::warn!(path = %path.display(), line, reason, "a line of the htpasswd file is skipped");
    }
    if users.is_empty() {
        tracing::warn!(path = %path.display(), "the htpasswd file has no user: nobody can log in");
    }
    let strongest = users
        .values()
        .map(|hash| cost(hash))
        .max()
        .unwrap_or(BCRYPT_COST)
        .min(MAX_DUMMY_COST);
    let dummy = bcrypt::hash("no user has this password", strongest).map_err(io::Error::other)?;
    Ok(Users {
        hashes: users,
        cost: strongest,
        dummy,
    })
}

/// The cost that stands in a bcrypt hash, as in `$2y$10$…`.
fn cost(hash: &str) -> u32 {
    hash.get(4..6)
        .and_then(|cost| cost.parse().ok())
        .unwrap_or_default()
}

/// The users of a file, and the lines that name none, with the reason.
pub fn parse(text: &str) -> (HashMap<String, String>, Vec<(usize, &'static str)>) {
    let mut users = HashMap::new();
    let mut refused = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.split_once(':') {
            None => refused.push((number + 1, "it has no colon between user and password hash")),
            Some(("", _)) => refused.push((number + 1, "the user name is empty")),
            Some((_, hash))
                if !["$2a$", "$2b$", "$2y$"]
                    .iter()
                    .any(|kind| hash.starts_with(kind)) =>
            {
                refused.push((
                    number + 1,
                    "the password hash is not bcrypt; make it with htpasswd -B",
                ));
            }
            Some((name, hash)) => {
                users.insert(name.to_owned(), hash.to_owned());
            }
        }
    }
    (users, refused)
}

/// Creates the file with the user `docker` and a random password, and logs both, once.
fn create(path: &Path) -> io::Result<()> {
    use io::Write as _;
    let password = random::hex::<16>();
    let hash = bcrypt::hash(&password, BCRYPT_COST).map_err(io::Error::other)?;
    if let Some(directory) = path.parent() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
    }
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    writeln!(file, "docker:{hash}")?;
    file.sync_all()?;
    tracing::warn!(
        user = "docker",
        password,
        path = %path.display(),
        "htpasswd is missing, provisioning with default user"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, password: &str) -> String {
        format!("{name}:{}\n", bcrypt::hash(password, 4).unwrap())
    }

    #[test]
    fn lines() {
        let text = "# comment\n\n a:$2y$05$x \nb:$apr1$x\nc\n:$2b$05$x\nd:$2a$05$y\n";
        let (users, refused) = parse(text);
        assert_eq!(users.len(), 2);
        assert_eq!(users["a"], "$2y$05$x");
        assert_eq!(
            refused.iter().map(|(line, _)| *line).collect::<Vec<_>>(),
            [4, 5, 6]
        );
    }

    #[tokio::test]
    async fn right_wrong_and_unknown() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("htpasswd");
        std::fs::write(&path, line("ann", "secret")).unwrap();
        let users = Htpasswd::open("r".into(), path).unwrap();
        for _ in 0..2 {
            assert_eq!(users.verify("ann", "secret").await, Ok(true));
        }
        assert_eq!(users.verify("ann", "wrong").await, Ok(false));
        assert_eq!(users.verify("bob", "secret").await, Ok(false));
        assert_eq!(
            users.verify("bob", "no user has this password").await,
            Ok(false)
        );
    }

    #[tokio::test]
    async fn many_with_the_same_password_need_one_check() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("htpasswd");
        std::fs::write(&path, line("ann", "secret")).unwrap();
        let users = Htpasswd::open("r".into(), path).unwrap();
        let logins = (0..4 * WAITING_CHECKS).map(|_| users.verify("ann", "secret"));
        for login in futures_util::future::join_all(logins).await {
            assert_eq!(login, Ok(true));
        }
    }

    #[tokio::test]
    async fn a_changed_file_counts_and_a_missing_one_is_made() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/htpasswd");
        let users = Htpasswd::open("r".into(), path.clone()).unwrap();
        assert!(
            std::fs::read_to_string(&path)
                .unwrap()
                .starts_with("docker:$2b$")
        );
        std::fs::write(&path, line("ann", "secret")).unwrap();
        users.users.look_now();
        assert_eq!(users.verify("ann", "secret").await, Ok(true));
        std::fs::write(&path, line("ann", "changed")).unwrap();
        users.users.look_now();
        assert_eq!(users.verify("ann", "secret").await, Ok(false));
        std::fs::remove_file(&path).unwrap();
        users.users.look_now();
        assert_eq!(users.verify("ann", "changed").await, Ok(true));
    }
}
