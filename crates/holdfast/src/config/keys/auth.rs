//! Keys of `auth`.

use super::Kind::{Choice, Flag, Path, Section, Text};
use super::{Entry, key};

const NO_TOKEN: &str = "token authentication is not part of this release, and starting without it would leave the registry open";

const ALGORITHMS: &[&str] = &[
    "EdDSA", "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384", "ES512",
    "PS256", "PS384", "PS512",
];

/// A row of the token section, which is refused as a whole.
const fn token(
    path: &'static str,
    kind: super::Kind,
    default: &'static str,
    about: &'static str,
) -> Entry {
    key(path, kind, default, about).refused(NO_TOKEN)
}

#[rustfmt::skip] // One key per line reads as the table it is.
pub(super) const ENTRIES: &[Entry] = &[
    key("auth.none", Section, "", "No authentication, as if `auth` were absent."),
    key("auth.htpasswd", Section, "", "Users and bcrypt passwords in a file."),
    key("auth.htpasswd.realm", Text, "", "Realm named in the challenge; required."),
    key("auth.htpasswd.path", Path, "", "The password file; required. It is read again when it changes."),
    key("auth.silly", Section, "", "Accepts any Authorization header; for tests only."),
    key("auth.silly.realm", Text, "", "Realm named in the challenge; required."),
    key("auth.silly.service", Text, "", "Service named in the challenge; required."),
    token("auth.token", Section, "", "Tokens of a separate authorization service."),
    token("auth.token.realm", Text, "", "URL of the authorization service."),
    token("auth.token.service", Text, "", "Name of this registry at the service."),
    token("auth.token.issuer", Text, "", "Issuer the tokens must name."),
    token("auth.token.rootcertbundle", Path, "", "Certificates or public keys of the issuer."),
    token("auth.token.autoredirect", Flag, "false", "Uses the host of the request as realm."),
    token("auth.token.autoredirectpath", Text, "/auth/token", "Path of the realm with `autoredirect`."),
    token("auth.token.jwks", Path, "", "JSON Web Key Set of the issuer."),
    token("auth.token.signingalgorithms[]", Choice(ALGORITHMS), "", "A signature algorithm that is accepted."),
];
