//! Repository names.
//!
//! Grammar: path components `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*` joined by `/` (distribution-spec,
//! "Pulling manifests"), and, as Distribution allows, a leading domain with upper-case letters when
//! more components follow (`Registry.Example/team/app`). A port in that domain is refused: Distribution
//! lets it through the router and then fails on it.

use std::fmt;
use std::str::FromStr;

/// Longest repository name in bytes. Source: Distribution; the OCI specification leaves it open.
pub const MAX_NAME_BYTES: usize = 255;

/// The name of a repository, such as `library/nginx`, known to be well formed.
#[derive(
    Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct RepositoryName(Box<str>);

/// Why a text is not a repository name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RepositoryNameError {
    /// A part of the name breaks the grammar.
    #[error(
        "a repository name is lower-case letters and digits, with single dots, underscores or dashes between them, in parts joined by slashes"
    )]
    Malformed,
    /// Over [`MAX_NAME_BYTES`].
    #[error("a repository name has at most {MAX_NAME_BYTES} characters")]
    TooLong,
}

impl RepositoryName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RepositoryName {
    type Err = RepositoryNameError;

    fn from_str(text: &str) -> Result<Self, RepositoryNameError> {
        if text.len() > MAX_NAME_BYTES {
            return Err(RepositoryNameError::TooLong);
        }
        let well_formed = text.split('/').all(is_component)
            || text.split_once('/').is_some_and(|(domain, rest)| {
                is_domain(domain) && rest.split('/').all(is_component)
            });
        if well_formed {
            Ok(RepositoryName(text.into()))
        } else {
            Err(RepositoryNameError::Malformed)
        }
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(text: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let mut at = 0;
    loop {
        let run = bytes[at..].iter().take_while(|b| alphanumeric(**b)).count();
        if run == 0 {
            return false;
        }
        at += run;
        if at == bytes.len() {
            return true;
        }
        let separator = bytes[at..]
            .iter()
            .take_while(|b| !alphanumeric(**b))
            .count();
        match &bytes[at..at + separator] {
            b"." | b"_" | b"__" => {}
            dashes if dashes.iter().all(|b| *b == b'-') => {}
            _ => return false,
        }
        at += separator;
    }
}

/// Labels of letters, digits and inner dashes, joined by dots.
fn is_domain(text: &str) -> bool {
    text.split('.').all(|label| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    })
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for RepositoryName {
    type Error = RepositoryNameError;

    fn try_from(text: String) -> Result<Self, RepositoryNameError> {
        text.parse()
    }
}

impl From<RepositoryName> for String {
    fn from(name: RepositoryName) -> String {
        name.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_a_repository_name() {
        let long = "a/".repeat(127) + "b";
        let good = [
            "a",
            "library/nginx",
            "a/b/c/d",
            "a.b",
            "a_b",
            "a__b",
            "a-b",
            "a---b",
            "0",
            "blobs/uploads",
            "manifests",
            "tags/list",
            "FOO/bar",
            "Host.Name/a/b",
            long.as_str(),
        ];
        for text in good {
            assert!(text.parse::<RepositoryName>().is_ok(), "{text}");
        }
        let too_long = format!("{long}c");
        let bad = [
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            "A",
            "a/B",
            "a..b",
            "a___b",
            "a.-b",
            "-a",
            "a-",
            ".a",
            "a.",
            "_a",
            "..",
            "../a",
            "a/../b",
            "a/./b",
            "host:5000/a",
            "a b",
            "a%2fb",
            "ä",
            "a\0b",
            "a\n",
            too_long.as_str(),
            "A-/b",
            ".x/b",
        ];
        for text in bad {
            assert!(text.parse::<RepositoryName>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_name_never_leads_out_of_a_directory(text in "[a-zA-Z0-9./_:%\\\\-]{0,40}") {
            if let Ok(name) = text.parse::<RepositoryName>() {
                prop_assert!(name.as_str().split('/').all(|part| !part.is_empty() && part != "." && part != ".."));
                prop_assert_eq!(name.as_str(), text);
            }
        }
    }
}
