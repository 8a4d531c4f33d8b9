//! The `middleware` section.
//!
//! Distribution has no middleware of the registry or of repositories and does not start when one is named. What
//! examples on the web put there works here: a list of repositories that may be used.

use regex::RegexSet;

use super::document::{Node, quoted};
use super::reader::Section;
use super::validation::patterns;

/// What stands between requests and content.
#[derive(Clone, Debug, Default)]
pub struct Middleware {
    /// Which repositories may be used; all entries must agree.
    pub repositories: Vec<RepositoryNames>,
}

/// A list of repositories that may be used.
#[derive(Clone, Debug)]
pub struct RepositoryNames {
    allow: RegexSet,
    deny: RegexSet,
}

impl RepositoryNames {
    /// Whether a repository of this name may be used: some pattern allows it, or there are none, and none denies it.
    pub fn permit(&self, name: &str) -> bool {
        (self.allow.is_empty() || self.allow.is_match(name)) && !self.deny.is_match(name)
    }

    fn read(entry: &Section<'_>) -> Self {
        let options = entry.section("options");
        let names = Self {
            allow: patterns(&options, "allow"),
            deny: patterns(&options, "deny"),
        };
        // Left empty by mistake, the list would permit everything.
        let empty = |name| {
            let written = options.get(name).and_then(Node::as_list);
            written.is_none_or(<[Node]>::is_empty)
        };
        if empty("allow") && empty("deny") {
            entry.refuse("options", "needs a pattern under allow or deny");
        }
        names
    }
}

impl Middleware {
    pub(super) fn read(middleware: &Section<'_>) -> Self {
        let mut repositories = Vec::new();
        for entry in middleware.items("registry") {
            match entry.required_text("name").as_str() {
                "repository" => repositories.push(RepositoryNames::read(&entry)),
                name => {
                    let text = format!(
                        "there is no registry middleware {}, and starting without it could open what it was \
                         meant to guard; the only one is repository",
                        quoted(name)
                    );
                    entry.refuse("name", text);
                }
            }
        }
        Self { repositories }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_allow_and_deny() {
        let set = |patterns: &[&str]| RegexSet::new(patterns).unwrap();
        let cases: [(&[&str], &[&str], &str, bool); 6] = [
            (&["^approved/"], &[], "approved/app", true),
            (&["^approved/"], &[], "evil/approved/app", false),
            (&["^approved/", "^base$"], &[], "base", true),
            (&["^approved/"], &["secret"], "approved/secret", false),
            (&[], &["^evil/"], "good/app", true),
            (&[], &["^evil/"], "evil/app", false),
        ];
        for (allow, deny, name, permitted) in cases {
            let names = RepositoryNames {
                allow: set(allow),
                deny: set(deny),
            };
            assert_eq!(names.permit(name), permitted, "{allow:?} {deny:?} {name}");
        }
    }
}
