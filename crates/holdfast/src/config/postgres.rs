//! The section `metadata.postgres`: facts about content in PostgreSQL, shared by equal nodes.

use std::path::PathBuf;
use std::time::Duration;

use holdfast_metadata::{PostgresOptions, PostgresTls};
use holdfast_model::Timestamp;
use url::Url;

use super::document::Node;
use super::reader::Section;
use super::secret::Secret;

/// How a PostgreSQL database is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Postgres {
    place: Place,
    password_file: Option<PathBuf>,
    replicas: Vec<Secret>,
    tls: PostgresTls,
    connections_max: usize,
    connect_timeout: Duration,
    wait_timeout: Duration,
    statement_timeout: Duration,
    lock_timeout: Duration,
    prepared_statements: bool,
}

/// Where the database is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Url(Secret),
    Words(Words),
}

/// The same in words.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Words {
    host: String,
    port: i64,
    user: Option<String>,
    password: Option<Secret>,
    database: String,
}

/// Keys that say in words what a URL says.
const WORDS: [&str; 5] = ["host", "port", "user", "password", "database"];
/// Parameters of a URL that this program reads itself, in libpq's spelling.
const SSL_MODE: &str = "sslmode";
const ROOT_CERTIFICATES: &str = "sslrootcert";

impl Postgres {
    pub(super) fn read(postgres: &Section<'_>) -> Self {
        let words = Words::read(postgres);
        let url = postgres.text("url");
        let mut asked = (None, None);
        let (place, host) = match &url {
            None => {
                if words.host.is_empty() {
                    postgres.refuse("host", "is required, or url in its place");
                }
                let host = words.host.clone();
                (Place::Words(words), host)
            }
            Some(text) => {
                for name in WORDS.iter().filter(|name| postgres.has(name)) {
                    postgres.refuse(
                        name,
                        "is said by metadata.postgres.url as well; set one of them",
                    );
                }
                match read_url(text) {
                    Ok((url, mode, roots)) => {
                        asked = (mode, roots);
                        let host = url.host_str().unwrap_or("/").to_owned();
                        (Place::Url(Secret::new(url.as_str())), host)
                    }
                    Err(why) => {
                        postgres.refuse("url", why);
                        (Place::Url(Secret::new("")), String::new())
                    }
                }
            }
        };
        if let Place::Words(words) = &place
            && words.password.is_some()
            && postgres.has("passwordfile")
        {
            postgres.refuse(
                "passwordfile",
                "metadata.postgres.password is set as well; set one of them",
            );
        }
        let mode = match asked.0 {
            Some(mode) if !postgres.has(SSL_MODE) => mode,
            _ => postgres.choice(SSL_MODE, wrong_mode).to_owned(),
        };
        let roots = postgres.path_of("rootcert").or(asked.1);
        let replicas = replicas(postgres);
        let local = host.split(',').all(is_local)
            && replicas.iter().all(|replica| {
                Url::parse(replica.reveal()).is_ok_and(|url| url.host_str().is_none_or(is_local))
            });
        let tls = tls(&mode, local, roots).unwrap_or_else(|| {
            postgres.refuse("url", wrong_mode(&mode));
            PostgresTls::Disable
        });
        Self {
            place,
            password_file: postgres.path_of("passwordfile"),
            replicas,
            tls,
            connections_max: postgres.count("maxconnections"),
            connect_timeout: postgres.positive_duration("connecttimeout"),
            wait_timeout: postgres.positive_duration("waittimeout"),
            statement_timeout: postgres.positive_duration("statementtimeout"),
            lock_timeout: postgres.positive_duration("locktimeout"),
            prepared_statements: postgres.flag("preparedstatements"),
        }
    }

    /// What the database is opened with. Reads the password from its file.
    pub(crate) fn options(&self, clock: fn() -> Timestamp) -> Result<PostgresOptions, String> {
        let password = match &self.password_file {
            None => None,
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
                Some(Secret::new(text.trim_end_matches(['\r', '\n'])))
            }
        };
        let connection = match &self.place {
            Place::Url(url) => with_password(url.reveal(), password.as_ref()),
            Place::Words(words) => words.connection(password.as_ref()),
        };
        let replica = |url: &Secret| with_password(url.reveal(), password.as_ref());
        Ok(PostgresOptions {
            replicas: self.replicas.iter().map(replica).collect(),
            tls: self.tls.clone(),
            connections_max: self.connections_max,
            connect_timeout: self.connect_timeout,
            wait_timeout: self.wait_timeout,
            statement_timeout: self.statement_timeout,
            lock_timeout: self.lock_timeout,
            prepared_statements: self.prepared_statements,
            ..PostgresOptions::new(connection, clock)
        })
    }

    /// Where the database is, for a log.
    pub(crate) fn described(&self) -> String {
        match &self.place {
            Place::Words(words) => format!(
                "PostgreSQL at {}:{}, database {}",
                words.host, words.port, words.database
            ),
            Place::Url(url) => match Url::parse(url.reveal()) {
                Ok(url) => format!(
                    "PostgreSQL at {}, database {}",
                    url.host_str().unwrap_or("a socket"),
                    url.path().trim_start_matches('/')
                ),
                Err(_) => "PostgreSQL".to_owned(),
            },
        }
    }
}

impl Words {
    fn read(postgres: &Section<'_>) -> Self {
        Self {
            host: postgres.text("host").unwrap_or_default(),
            port: postgres.integer("port").unwrap_or_default(),
            user: postgres.text("user"),
            password: postgres.text("password").map(Secret::new),
            database: postgres.text("database").unwrap_or_default(),
        }
    }

    /// The driver's words, quoted.
    fn connection(&self, from_file: Option<&Secret>) -> String {
        let port = self.port.to_string();
        let password = from_file.or(self.password.as_ref()).map(Secret::reveal);
        let words = [
            ("host", Some(self.host.as_str())),
            ("port", Some(port.as_str())),
            ("user", self.user.as_deref()),
            ("password", password),
            ("dbname", Some(self.database.as_str())),
        ];
        let mut connection = String::new();
        for (name, value) in words {
            let Some(value) = value else { continue };
            let value = value.replace('\\', "\\\\").replace('\'', "\\'");
            connection.push_str(&format!("{name}='{value}' "));
        }
        connection
    }
}

/// A URL without the parameters that are read here, and what they say.
fn read_url(text: &str) -> Result<(Url, Option<String>, Option<PathBuf>), &'static str> {
    const FORM: &str = "expected a URL such as postgres://user@host:5432/database";
    let mut url = Url::parse(text).map_err(|_| FORM)?;
    if !matches!(url.scheme(), "postgres" | "postgresql") {
        return Err(FORM);
    }
    let (mut mode, mut roots, mut rest) = (None, None, Vec::new());
    for (name, value) in url.query_pairs() {
        match &*name {
            SSL_MODE => mode = Some(value.into_owned()),
            ROOT_CERTIFICATES => roots = Some(PathBuf::from(value.into_owned())),
            // Where it really goes must stand where everybody looks: what is local decides about encryption.
            "host" | "hostaddr" => {
                return Err("write the host before the path, or use metadata.postgres.host");
            }
            _ => rest.push((name.into_owned(), value.into_owned())),
        }
    }
    url.set_query(None);
    if !rest.is_empty() {
        url.query_pairs_mut().extend_pairs(rest);
    }
    Ok((url, mode, roots))
}

fn replicas(postgres: &Section<'_>) -> Vec<Secret> {
    let mut replicas = Vec::new();
    for (node, text) in postgres.list("replicas") {
        let refuse = |why: &str| {
            let node: &Node = node;
            postgres.refuse_at(&node.at, "metadata.postgres.replicas", why);
        };
        match read_url(text) {
            Ok((url, None, None)) => replicas.push(Secret::new(url.as_str())),
            Ok(_) => {
                refuse("sslmode and sslrootcert are those of metadata.postgres for all servers")
            }
            Err(why) => refuse(why),
        }
    }
    replicas
}

/// A URL with a password from elsewhere, unless it has one.
fn with_password(url: &str, password: Option<&Secret>) -> String {
    match (Url::parse(url), password) {
        (Ok(mut url), Some(password)) if url.password().is_none() => {
            // A URL without a host cannot have one; the driver says that it is missing.
            let _ = url.set_password(Some(&password.reveal().replace('%', "%25")));
            url.into()
        }
        _ => url.to_owned(),
    }
}

fn wrong_mode(mode: &str) -> String {
    format!(
        "sslmode {mode:?} is not offered: disable, require (encrypted, to whoever answers) or verify-full (the server \
         proves its name)"
    )
}

/// Whether what goes there stays on this machine.
fn is_local(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host.starts_with('/')
        || host.starts_with("%2F")
        || host == "localhost"
        || address.is_ok_and(|address| address.is_loopback())
}

/// Without a word, what leaves the machine is encrypted and the server proves who it is.
fn tls(mode: &str, local: bool, root_certificates: Option<PathBuf>) -> Option<PostgresTls> {
    match mode {
        "" if local && root_certificates.is_none() => Some(PostgresTls::Disable),
        "disable" => Some(PostgresTls::Disable),
        "require" => Some(PostgresTls::Require),
        "" | "verify-full" => Some(PostgresTls::VerifyFull { root_certificates }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_the_driver() {
        let words = Words {
            host: "/run/postgresql".to_owned(),
            port: 5432,
            user: Some("o'brien".to_owned()),
            password: Some(Secret::new(r"a\b c")),
            database: "holdfast".to_owned(),
        };
        assert_eq!(
            words.connection(None).trim_end(),
            r"host='/run/postgresql' port='5432' user='o\'brien' password='a\\b c' dbname='holdfast'"
        );
    }

    #[test]
    fn a_password_from_a_file_goes_where_there_is_none() {
        let secret = Secret::new("p@ss");
        for (url, wanted) in [
            ("postgres://u@h/d", "postgres://u:p%40ss@h/d"),
            ("postgres://u:x@h/d", "postgres://u:x@h/d"),
        ] {
            assert_eq!(with_password(url, Some(&secret)), wanted);
        }
    }

    #[test]
    fn what_leaves_the_machine_is_encrypted_unless_told_otherwise() {
        let verified = |file: Option<&str>| PostgresTls::VerifyFull {
            root_certificates: file.map(PathBuf::from),
        };
        for (mode, host, file, wanted) in [
            ("", "/run/postgresql", None, Some(PostgresTls::Disable)),
            ("", "127.0.0.1", None, Some(PostgresTls::Disable)),
            ("", "[::1]", None, Some(PostgresTls::Disable)),
            ("", "localhost", Some("/ca"), Some(verified(Some("/ca")))),
            ("", "db.example.com", None, Some(verified(None))),
            (
                "disable",
                "db.example.com",
                None,
                Some(PostgresTls::Disable),
            ),
            (
                "require",
                "db.example.com",
                None,
                Some(PostgresTls::Require),
            ),
            ("verify-ca", "db.example.com", None, None),
        ] {
            let file = file.map(PathBuf::from);
            assert_eq!(tls(mode, is_local(host), file), wanted, "{mode} {host}");
        }
    }

    #[test]
    fn a_url_is_read_without_what_is_ours() {
        let text = "postgres://u@h:1/d?sslmode=verify-full&sslrootcert=/ca.pem&options=-c%20a%3Db";
        let (url, mode, roots) = read_url(text).unwrap();
        assert_eq!(url.as_str(), "postgres://u@h:1/d?options=-c+a%3Db");
        assert_eq!(mode.as_deref(), Some("verify-full"));
        assert_eq!(roots, Some("/ca.pem".into()));
        assert!(read_url("mysql://h/d").is_err() && read_url("h").is_err());
    }
}
