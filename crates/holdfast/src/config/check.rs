//! The walk of a document beside the table of keys.
//!
//! It finds what the typed sections never look at: keys nobody knows, keys that do nothing yet or
//! never will, keys whose absence would be unsafe, and values of the wrong shape. After it the typed
//! sections may take shapes for granted and judge values only.

use std::collections::BTreeSet;

use super::document::{Location, Map, Node, Value, quoted};
use super::keys::{Branch, Kind, Status, tree};
use super::problem::{Level, MAX_LISTED, Problem, Warning};
use super::spelling;

/// Whether an unknown key stands where a misspelt one would leave the registry open: among those of logins
/// and encryption, or with a hint that one of them was meant.
pub(super) fn guards(path: &str, hint: &str) -> bool {
    let within = |section: &str| {
        path == section
            || path
                .strip_prefix(section)
                .is_some_and(|rest| rest.starts_with('.'))
    };
    let meant = |key: &str| hint.ends_with(&format!("did you mean {key}?"));
    within("auth") || within("http.tls") || meant("auth") || meant("http.tls")
}

/// What the walk found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Warning>,
    /// Keys that are not effective yet, each with its place.
    idle: Vec<String>,
    /// The same keys without list indexes, so that ten endpoints are one word.
    idle_seen: BTreeSet<String>,
}

/// Walks the whole document.
pub(super) fn check(root: &Node) -> Findings {
    let mut findings = Findings::default();
    match &root.value {
        Value::Map(map) => findings.keys(map, tree(), "", false),
        Value::Scalar(_) if root.is_null() => {}
        Value::Scalar(_) | Value::List(_) => findings.problem(
            &root.at,
            "",
            format!(
                "expected sections such as storage and http, found {}",
                root.described()
            ),
        ),
    }
    if !findings.idle.is_empty() {
        // In front, because a flood of unknown keys is cut short at its end.
        findings.warnings.insert(
            0,
            Warning {
                level: Level::Warning,
                at: None,
                text: format!(
                    "not effective yet in this release: {}",
                    findings.idle.join(", ")
                ),
            },
        );
    }
    findings
}

impl Findings {
    fn problem(&mut self, at: &Location, key: &str, text: impl Into<String>) {
        self.problems.push(Problem {
            at: at.clone(),
            key: key.to_owned(),
            text: text.into(),
        });
    }

    /// Checks the keys of a section. `named` is set when the section was already named as idle.
    fn keys(&mut self, map: &Map, branch: &Branch, path: &str, named: bool) {
        for pair in map.iter() {
            let shown = join(path, &pair.key);
            match branch.child_or_wildcard(&pair.key) {
                Some(child) => self.value(&pair.value, &pair.at, child, &shown, named),
                None if path == "storage" => self.unknown_of(
                    &pair.at,
                    &shown,
                    "is not a storage driver of this release, which has filesystem, inmemory, s3, gcs, azure, oss and swift",
                ),
                None if path == "auth" => self.unknown_of(
                    &pair.at,
                    &shown,
                    "is not an auth type of this release, which has htpasswd, silly and none",
                ),
                None => {
                    let hint = if self.warnings.len() < MAX_LISTED {
                        spelling::hint(&pair.key, branch, path)
                    } else {
                        String::new()
                    };
                    if guards(path, &hint) {
                        let text = format!(
                            "is not a known key{hint}; here that could leave the registry open"
                        );
                        self.problem(&pair.at, &shown_key(&shown), text);
                        continue;
                    }
                    let text = format!(
                        "{} is not a known key and has no effect{hint}",
                        shown_key(&shown)
                    );
                    self.warnings.push(Warning::new(&pair.at, text));
                }
            }
        }
    }

    /// A stray key where Distribution expects the name of a driver stops the start there too.
    fn unknown_of(&mut self, at: &Location, shown: &str, text: &str) {
        let (section, key) = shown.split_once('.').unwrap_or(("", shown));
        let hint = tree()
            .child(section)
            .map_or_else(String::new, |branch| spelling::hint(key, branch, section));
        self.problem(at, &shown_key(shown), format!("{text}{hint}"));
    }

    fn value(&mut self, node: &Node, at: &Location, branch: &Branch, path: &str, named: bool) {
        let mut named = named;
        match branch.entry.map(|entry| entry.status) {
            Some(Status::Refused { why }) => {
                // A driver or auth type asks for something by its name alone.
                let by_name = path.starts_with("storage.") || path.starts_with("auth.");
                if by_name || !node.is_blank() {
                    self.problem(at, path, format!("refused: {why}"));
                }
                return;
            }
            Some(Status::NotYet) if !named && !node.is_blank() => {
                self.idle(at, path);
                named = true;
            }
            Some(Status::Ignored { why }) if !named => {
                let text = format!("{path} has no effect here: {why}");
                self.warnings.push(Warning::notice(at, text));
                named = true;
            }
            _ => {}
        }
        self.shape(node, branch, path, named);
    }

    fn idle(&mut self, at: &Location, path: &str) {
        let pattern: String = path.split(['[', ']']).step_by(2).collect();
        if self.idle_seen.insert(pattern) {
            let place = match at {
                Location::File { path, line, .. } => format!("{path}:{line}"),
                Location::Environment { .. } | Location::Default => at.to_string(),
            };
            self.idle.push(format!("{path} ({place})"));
        }
    }

    fn shape(&mut self, node: &Node, branch: &Branch, path: &str, named: bool) {
        let any = branch.entry.is_some_and(|entry| entry.kind == Kind::Any);
        match &node.value {
            _ if any || node.is_null() => {}
            Value::List(items) => match branch.item.as_deref() {
                Some(item) => {
                    for (index, node) in items.iter().enumerate() {
                        self.value(node, &node.at, item, &format!("{path}[{index}]"), named);
                    }
                }
                None if branch.is_leaf() => self.wrong(node, path, "one value"),
                None => self.wrong(node, path, "a section"),
            },
            Value::Map(map) => match branch.item {
                Some(_) => self.wrong(node, path, "a list"),
                None if branch.is_leaf() => self.wrong(node, path, "one value"),
                None => self.keys(map, branch, path, named),
            },
            Value::Scalar(_) if branch.is_leaf() => {}
            Value::Scalar(scalar) => {
                let secret = branch.item.as_ref().and_then(|item| item.entry);
                let value = if secret.is_some_and(|entry| entry.secret) {
                    "value".to_owned()
                } else {
                    scalar.text.chars().take(40).collect()
                };
                if branch.item.is_some() {
                    self.wrong(node, path, &format!("a list such as [{value}]"));
                } else {
                    self.wrong(node, path, "a section");
                }
            }
        }
    }

    fn wrong(&mut self, node: &Node, path: &str, expected: &str) {
        let found = match &node.value {
            Value::Scalar(_) => "a single value".to_owned(),
            Value::List(_) | Value::Map(_) => node.described(),
        };
        self.problem(
            &node.at,
            path,
            format!("expected {expected}, found {found}"),
        );
    }
}

/// A path with one more key.
pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

/// A key an operator invented may contain anything; quotes are added when it could mislead.
fn shown_key(key: &str) -> String {
    let plain = key.len() <= 200
        && key
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || ".-_[]".contains(c));
    if plain { key.to_owned() } else { quoted(key) }
}
