//! The `auth` section: at most one way to authenticate.

use std::path::PathBuf;

use super::reader::Section;
use super::storage::{list, one_of};

/// Who is let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Everyone.
    None,
    /// Users of a password file.
    Htpasswd {
        /// Realm of the challenge.
        realm: String,
        /// The password file.
        path: PathBuf,
    },
    /// Anyone who sends an Authorization header; for tests.
    Silly {
        /// Realm of the challenge.
        realm: String,
        /// Service of the challenge.
        service: String,
    },
}

impl Auth {
    pub(super) fn read(auth: &Section<'_>) -> Self {
        auth.section("none");
        let htpasswd = auth.section("htpasswd");
        let silly = auth.section("silly");
        let types = one_of(auth, "auth");
        if let [_, second, ..] = types.as_slice() {
            let text = format!("must provide exactly one type. Provided: {}", list(&types));
            auth.refuse_at(&second.at, "auth", text);
        }
        match types.first().map(|pair| pair.key.as_str()) {
            Some("htpasswd") => Self::Htpasswd {
                realm: realm(&htpasswd, "realm"),
                path: htpasswd.required_path("path"),
            },
            Some("silly") => Self::Silly {
                realm: realm(&silly, "realm"),
                service: realm(&silly, "service"),
            },
            _ => Self::None,
        }
    }
}

/// A required text that goes into the header of the challenge.
fn realm(section: &Section<'_>, name: &str) -> String {
    let text = section.required_text(name);
    if text.contains(|c: char| c.is_control()) {
        section.refuse(
            name,
            "goes into a header and cannot contain control characters",
        );
    }
    text
}
