//! Who may do what.
//!
//! A request is authenticated once, from its headers, and every permission is decided on the caller that
//! came out. Wrong credentials are refused even where none are needed: a typing error must not look like
//! success.

mod htpasswd;
mod permission;
mod remembered;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;

pub use htpasswd::parse as parse_htpasswd;
pub(crate) use htpasswd::{BCRYPT_COST, Htpasswd};
pub use permission::Permission;
pub(crate) use permission::Scope;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Nobody in particular: no credentials came.
    Anonymous,
    /// A user whose credentials were checked.
    User(String),
}

impl Caller {
    /// The name for logs.
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Caller::Anonymous => None,
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
    anonymous_pull: bool,
}

impl Access {
    /// `anonymous_pull` lets callers without credentials read.
    pub fn new(realm: Realm, anonymous_pull: bool) -> Access {
        Access {
            realm,
            anonymous_pull,
        }
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
                let (name, password) = basic(header).ok_or(Denial::Unauthorized)?;
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
        // `/v2/` asks for credentials even when pulls do not: without that, `docker login` would accept
        // any password, and clients would not learn how to log in.
        let reading = matches!(permission, Permission::Pull(_) | Permission::Catalog);
        match (&self.realm, caller) {
            (Realm::Open, _) | (_, Caller::User(_)) => Ok(()),
            (_, Caller::Anonymous) if self.anonymous_pull && reading => Ok(()),
            (_, Caller::Anonymous) => Err(Denial::Unauthorized),
        }
    }

    /// Refuses strangers where the realm knows users and nothing is open to all.
    pub fn require_somebody(&self, caller: &Caller) -> Result<()> {
        match (&self.realm, caller) {
            (Realm::Open, _) | (_, Caller::User(_)) => Ok(()),
            (_, Caller::Anonymous) if self.anonymous_pull => Ok(()),
            (_, Caller::Anonymous) => Err(Denial::Unauthorized),
        }
    }

    /// The `WWW-Authenticate` of a refusal, for the scope that was wanted; `sent` when credentials came.
    pub fn challenge(&self, scope: Option<Scope<'_>>, sent: bool) -> String {
        match &self.realm {
            Realm::Open => "Basic realm=\"none\"".to_owned(),
            Realm::Htpasswd(users) => format!("Basic realm={}", quoted(users.realm())),
            Realm::Silly { realm, service } => {
                let mut challenge =
                    format!("Bearer realm={},service={}", quoted(realm), quoted(service));
                if let Some((kind, name, actions)) = scope {
                    let scopes: Vec<String> = actions
                        .iter()
                        .map(|action| format!("{kind}:{name}:{action}"))
                        .collect();
                    challenge.push_str(&format!(",scope={}", quoted(&scopes.join(" "))));
                }
                if sent {
                    challenge.push_str(",error=\"invalid_token\"");
                }
                challenge
            }
        }
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
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

    #[test]
    fn anonymous_reads_do_not_open_the_base() {
        let silly = Realm::Silly {
            realm: "r".into(),
            service: "s".into(),
        };
        let access = Access::new(silly, true);
        let name = "a".parse().unwrap();
        assert!(
            access
                .authorize(&Caller::Anonymous, Permission::Pull(&name))
                .is_ok()
        );
        for permission in [
            Permission::LogIn,
            Permission::Push(&name),
            Permission::Delete(&name),
        ] {
            assert!(
                access.authorize(&Caller::Anonymous, permission).is_err(),
                "{permission:?}"
            );
        }
    }

    #[test]
    fn challenges_are_quoted() {
        let access = Access::new(
            Realm::Silly {
                realm: "a\"b".into(),
                service: "s".into(),
            },
            false,
        );
        assert_eq!(
            access.challenge(Some(("repository", "x/y", &["pull", "push"])), true),
            "Bearer realm=\"a\\\"b\",service=\"s\",scope=\"repository:x/y:pull repository:x/y:push\",error=\"invalid_token\""
        );
    }
}
