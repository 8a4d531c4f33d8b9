//! Who may do what.
//!
//! A request is authenticated once, from its headers, and every permission is decided on the caller that
//! came out. Wrong credentials are refused even where none are needed: a typing error must not look like
//! success.

mod htpasswd;
mod permission;
mod remembered;
mod token;

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use holdfast_model::{RepositoryName, Timestamp};
use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::config::RepositoryNames;
use crate::{clock, config};
use token::Tokens;

pub use htpasswd::parse as parse_htpasswd;
pub(crate) use htpasswd::{BCRYPT_COST, Htpasswd};
pub use permission::Permission;
pub(crate) use permission::Scope;
pub(crate) use token::LIFETIME as TOKEN_LIFETIME;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Nobody in particular: no credentials came.
    Anonymous,
    /// Nobody in particular, with a token that says so.
    Guest,
    /// A user whose credentials were checked.
    User(String),
}

impl Caller {
    /// The name for logs.
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Caller::Anonymous | Caller::Guest => None,
            Caller::User(name) => Some(name),
        }
    }
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// No credentials, wrong ones, or not enough rights.
    Unauthorized,
    /// The credentials could not be checked.
    Unavailable,
    /// The repository is not one of those that may be used, whoever asks.
    RepositoryClosed,
}

/// A caller or a refusal.
pub type Result<T> = std::result::Result<T, Denial>;

/// Longest `Authorization` header that is looked at, in bytes.
const MAX_AUTHORIZATION_BYTES: usize = 16 * 1024;

/// The realm in use.
pub enum Realm {
    /// No authentication: everybody may do everything.
    Open,
    /// Users and bcrypt passwords in a file. Every user may do everything.
    Htpasswd(Box<Htpasswd>),
    /// Distribution's test realm: any `Authorization` header will do.
    Silly {
        /// Shown in the challenge.
        realm: String,
        /// Shown in the challenge.
        service: String,
    },
}

/// Authentication and authorization.
pub struct Access {
    realm: Realm,
    /// Where callers without credentials may read: what makes and checks their tokens.
    tokens: Option<Tokens>,
    administrators: HashSet<String>,
    repositories: Vec<RepositoryNames>,
}

impl Access {
    /// Tokens are made under the secret, which must be known to this registry alone.
    pub(crate) fn new(realm: Realm, settings: &config::Access, secret: &[u8]) -> Access {
        let users = matches!(realm, Realm::Htpasswd(_));
        let tokens = (settings.anonymous_pull && users).then(|| Tokens::new(secret));
        Access {
            realm,
            tokens,
            administrators: settings.administrators.iter().cloned().collect(),
            repositories: Vec::new(),
        }
    }

    /// The same for repositories only that all of these lists permit.
    pub(crate) fn within(mut self, repositories: Vec<RepositoryNames>) -> Access {
        self.repositories = repositories;
        self
    }

    /// Whether the caller may use the management API.
    pub(crate) fn administers(&self, caller: &Caller) -> bool {
        matches!(caller, Caller::User(name) if self.administrators.contains(name))
    }

    /// A token for the caller; `None` where tokens mean nothing.
    pub(crate) fn token(&self, caller: &Caller, now: Timestamp) -> Option<String> {
        self.tokens.as_ref().map(|tokens| tokens.issue(caller, now))
    }

    /// Who sends these headers.
    pub async fn authenticate(&self, headers: &HeaderMap) -> Result<Caller> {
        let Some(header) = headers.get(AUTHORIZATION) else {
            return Ok(Caller::Anonymous);
        };
        match &self.realm {
            Realm::Open => Ok(Caller::Anonymous),
            Realm::Silly { .. } if header.is_empty() => Ok(Caller::Anonymous),
            Realm::Silly { .. } => Ok(Caller::User("silly".to_owned())),
            Realm::Htpasswd(users) => {
                let header = header.to_str().map_err(|_| Denial::Unauthorized)?;
                if let (Some(token), Some(tokens)) = (bearer(header), &self.tokens) {
                    return match tokens.verify(token, clock::now()) {
                        // A token ends with its user.
                        Some(Caller::User(name)) if !users.knows(&name) => {
                            Err(Denial::Unauthorized)
                        }
                        verified => verified.ok_or(Denial::Unauthorized),
                    };
                }
                let (name, password) = basic(header).ok_or(Denial::Unauthorized)?;
                if name.is_empty() && password.is_empty() {
                    // Some clients say so when they have none.
                    return Ok(Caller::Anonymous);
                }
                if users.verify(&name, &password).await? {
                    Ok(Caller::User(name))
                } else {
                    tracing::warn!(user = name, "wrong user name or password");
                    Err(Denial::Unauthorized)
                }
            }
        }
    }

    /// Whether the caller may do this.
    pub fn authorize(&self, caller: &Caller, permission: Permission<'_>) -> Result<()> {
        let open = match permission {
            Permission::Pull(_) | Permission::Catalog => self.tokens.is_some(),
            // `/v2/` asks everybody for credentials or a token: without that, `docker login` would accept any
            // password, and clients would not learn how to log in.
            Permission::LogIn => self.tokens.is_some() && *caller == Caller::Guest,
            Permission::Push(_) | Permission::Delete(_) => false,
        };
        match (&self.realm, caller) {
            (Realm::Open, _) | (_, Caller::User(_)) => {}
            _ if open => {}
            _ => return Err(Denial::Unauthorized),
        }
        // Who may not even ask is not told which repositories there may be.
        match permission.repository() {
            Some(name) if !self.permits(name) => Err(Denial::RepositoryClosed),
            _ => Ok(()),
        }
    }

    fn permits(&self, repository: &RepositoryName) -> bool {
        self.names(repository.as_str())
    }

    /// Whether a repository of this name is open to anybody at all.
    pub(crate) fn names(&self, repository: &str) -> bool {
        self.repositories
            .iter()
            .all(|names| names.permit(repository))
    }

    /// Refuses strangers where the realm knows users and nothing is open to all.
    pub(crate) fn require_somebody(&self, caller: &Caller) -> Result<()> {
        match (&self.realm, caller) {
            (Realm::Open, _) | (_, Caller::User(_)) => Ok(()),
            _ if self.tokens.is_some() => Ok(()),
            _ => Err(Denial::Unauthorized),
        }
    }

    /// The `WWW-Authenticate` of a refusal, for the scope that was wanted; `sent` when credentials came, and
    /// `token_url` is where this registry gives out tokens.
    pub(crate) fn challenge(
        &self,
        scope: Option<Scope<'_>>,
        sent: bool,
        token_url: &str,
    ) -> String {
        let (realm, service, error) = match (&self.realm, &self.tokens) {
            (Realm::Open, _) => return "Basic realm=\"none\"".to_owned(),
            (Realm::Htpasswd(users), None) => {
                return format!("Basic realm={}", quoted(users.realm()));
            }
            (Realm::Htpasswd(users), Some(_)) => (token_url, users.realm(), "insufficient_scope"),
            (Realm::Silly { realm, service }, _) => {
                (realm.as_str(), service.as_str(), "invalid_token")
            }
        };
        let mut challenge = format!("Bearer realm={},service={}", quoted(realm), quoted(service));
        if let Some((kind, name, actions)) = scope {
            // Docker merges the actions of one resource by commas; silly, as in Distribution, repeats it.
            let scope = match &self.realm {
                Realm::Silly { .. } => {
                    let scopes: Vec<String> = actions
                        .iter()
                        .map(|action| format!("{kind}:{name}:{action}"))
                        .collect();
                    scopes.join(" ")
                }
                _ => format!("{kind}:{name}:{}", actions.join(",")),
            };
            challenge.push_str(&format!(",scope={}", quoted(&scope)));
        }
        if sent {
            challenge.push_str(&format!(",error=\"{error}\""));
        }
        challenge
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// The token of a Bearer header (RFC 6750).
fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
}

/// The name and password of a Basic header (RFC 7617).
fn basic(header: &str) -> Option<(String, String)> {
    if header.len() > MAX_AUTHORIZATION_BYTES {
        return None;
    }
    let (scheme, credentials) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(credentials.trim()).ok()?).ok()?;
    let (name, password) = text.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_headers() {
        let some = |name: &str, password: &str| Some((name.to_owned(), password.to_owned()));
        let cases = [
            ("Basic YTpi", some("a", "b")),
            ("basic YTpi", some("a", "b")),
            ("Basic YTpiOmM=", some("a", "b:c")),
            ("Basic Og==", some("", "")),
            ("Basic YQ==", None),
            ("Basic !", None),
            ("Basic", None),
            ("Bearer YTpi", None),
            ("Basic /w==", None),
        ];
        for (header, wanted) in cases {
            assert_eq!(basic(header), wanted, "{header}");
        }
    }

    #[tokio::test]
    async fn anonymous_reads_do_not_open_the_base() {
        let directory = tempfile::tempdir().unwrap();
        let users = Htpasswd::open("r".into(), directory.path().join("htpasswd")).unwrap();
        let settings = config::Access {
            anonymous_pull: true,
            administrators: vec!["root".into()],
        };
        let access = Access::new(Realm::Htpasswd(Box::new(users)), &settings, b"secret");
        let name = "a".parse().unwrap();
        for caller in [Caller::Anonymous, Caller::Guest] {
            for permission in [Permission::Pull(&name), Permission::Catalog] {
                assert!(
                    access.authorize(&caller, permission).is_ok(),
                    "{permission:?}"
                );
            }
            for permission in [Permission::Push(&name), Permission::Delete(&name)] {
                assert!(
                    access.authorize(&caller, permission).is_err(),
                    "{permission:?}"
                );
            }
        }
        assert!(
            access
                .authorize(&Caller::Anonymous, Permission::LogIn)
                .is_err()
        );
        assert!(access.authorize(&Caller::Guest, Permission::LogIn).is_ok());
        assert!(access.administers(&Caller::User("root".into())));
        for caller in [Caller::Anonymous, Caller::Guest, Caller::User("a".into())] {
            assert!(!access.administers(&caller), "{caller:?}");
        }
        assert_eq!(
            access.challenge(
                Permission::Push(&name).scope(),
                false,
                "http://x/auth/token"
            ),
            "Bearer realm=\"http://x/auth/token\",service=\"r\",scope=\"repository:a:pull,push\""
        );
    }

    #[test]
    fn challenges_are_quoted() {
        let silly = Realm::Silly {
            realm: "a\"b".into(),
            service: "s".into(),
        };
        let access = Access::new(silly, &config::Access::default(), b"secret");
        assert_eq!(
            access.challenge(Some(("repository", "x/y", &["pull", "push"])), true, ""),
            "Bearer realm=\"a\\\"b\",service=\"s\",scope=\"repository:x/y:pull repository:x/y:push\",error=\"invalid_token\""
        );
    }
}
