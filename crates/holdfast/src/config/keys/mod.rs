//! The table of every configuration key, and the tree that is derived from it.
//!
//! One row says all there is to know about a key: its place, type, default, meaning, and what this
//! release does with it. The typed sections take their defaults from here; the warnings about
//! unknown or idle keys, the environment overrides, the JSON Schema and the reference page are all
//! drawn from it, so none of them can disagree with another.
//!
//! In a path, `[]` stands for the items of a list and `*` for keys that the operator chooses.
//!
//! Invariant: a row without a status word is read by a typed section; every other row is named to
//! the operator who sets it.

mod access;
mod auth;
mod drivers;
mod gc;
mod health;
mod http;
mod limits;
mod log;
mod middleware;
mod notifications;
mod proxy;
mod redis;
mod scrub;
mod storage;
mod tree;
mod validation;

pub(super) use tree::{Branch, tree};

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its place, such as `http.tls.clientcas[]`.
    pub path: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Its default as it would be written in YAML; empty if there is none.
    pub default: &'static str,
    /// What it does, in one sentence or two.
    pub about: &'static str,
    /// What this release does with it.
    pub status: Status,
    /// Whether its value must not be shown.
    pub secret: bool,
}

/// What a key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Further keys.
    Section,
    /// Text.
    Text,
    /// A path in the file system.
    Path,
    /// `true` or `false`.
    Flag,
    /// A whole number within bounds, both included.
    Integer {
        /// Smallest value.
        min: i64,
        /// Largest value.
        max: i64,
    },
    /// A Go duration.
    Duration,
    /// One of these words, in any case.
    Choice(&'static [&'static str]),
    /// Whatever the operator writes.
    Any,
}

/// What this release does with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It does what its description says.
    Effective,
    /// It is accepted, named in one warning, and does nothing yet.
    NotYet,
    /// It is accepted and means nothing here, for the reason given.
    Ignored {
        /// The reason.
        why: &'static str,
    },
    /// It stops the start, for the reason given: going on without it would be unsafe.
    Refused {
        /// The reason.
        why: &'static str,
    },
    /// An older spelling: the value moves to the other key unless that is set.
    Alias {
        /// The key to write instead.
        of: &'static str,
    },
}

/// Largest number where Distribution sets no bound.
const ANY_MAX: i64 = i64::MAX;

/// A count of zero or more without an upper bound of its own.
const COUNT: Kind = Kind::Integer {
    min: 0,
    max: ANY_MAX,
};

/// Any whole number.
const NUMBER: Kind = Kind::Integer {
    min: i64::MIN,
    max: ANY_MAX,
};

/// An effective key; the methods below give it another status.
const fn key(path: &'static str, kind: Kind, default: &'static str, about: &'static str) -> Entry {
    Entry {
        path,
        kind,
        default,
        about,
        status: Status::Effective,
        secret: false,
    }
}

impl Entry {
    const fn not_yet(mut self) -> Self {
        self.status = Status::NotYet;
        self
    }

    const fn ignored(mut self, why: &'static str) -> Self {
        self.status = Status::Ignored { why };
        self
    }

    const fn refused(mut self, why: &'static str) -> Self {
        self.status = Status::Refused { why };
        self
    }

    const fn alias(mut self, of: &'static str) -> Self {
        self.status = Status::Alias { of };
        self
    }

    const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }
}

/// The parts of the table, in the order of the reference page.
const PARTS: [(&str, &[Entry]); 16] = [
    ("Version and log", log::ENTRIES),
    ("Storage", storage::ENTRIES),
    ("Storage drivers", drivers::ENTRIES),
    ("Metadata and access", access::ENTRIES),
    ("Authentication", auth::ENTRIES),
    ("HTTP", http::ENTRIES),
    ("Health checks", health::ENTRIES),
    ("Validation and policy", validation::ENTRIES),
    ("Lists and limits", limits::ENTRIES),
    ("Garbage collection", gc::ENTRIES),
    ("Integrity", scrub::ENTRIES),
    ("Notifications", notifications::ENTRIES),
    ("Redis", redis::ENTRIES),
    ("Pull-through proxy", proxy::ENTRIES),
    ("Middleware", middleware::ENTRIES),
    ("Retired sections", log::RETIRED),
];

/// Every part of the table with its heading.
pub(super) fn parts() -> impl Iterator<Item = (&'static str, &'static [Entry])> {
    PARTS.into_iter()
}

/// Every key.
pub fn entries() -> impl Iterator<Item = &'static Entry> {
    PARTS.into_iter().flat_map(|(_, entries)| entries)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::duration;
    use super::*;

    #[test]
    fn rows_are_unique_reachable_by_environment_and_described() {
        let mut paths = BTreeSet::new();
        for entry in entries() {
            assert!(paths.insert(entry.path), "{} is listed twice", entry.path);
            assert!(
                entry.about.ends_with('.'),
                "{}: {:?}",
                entry.path,
                entry.about
            );
            let lower = entry.path.to_ascii_lowercase() == entry.path;
            assert!(lower, "{} has capitals", entry.path);
            // Distribution has these two, which its own variables cannot reach.
            let odd = ["storage.azure.max_retries", "storage.azure.retry_delay"];
            if entry.status == Status::Effective && !odd.contains(&entry.path) {
                assert!(
                    !entry.path.contains('_'),
                    "{} has an underscore",
                    entry.path
                );
            }
        }
    }

    #[test]
    fn defaults_fit_their_kind() {
        for entry in entries().filter(|entry| !entry.default.is_empty()) {
            let fits = match entry.kind {
                Kind::Flag => matches!(entry.default, "true" | "false"),
                Kind::Integer { min, max } => entry
                    .default
                    .parse()
                    .is_ok_and(|default: i64| (min..=max).contains(&default)),
                Kind::Duration => duration::parse(entry.default).is_some(),
                Kind::Choice(options) => options.contains(&entry.default),
                Kind::Text | Kind::Path | Kind::Any => true,
                Kind::Section => false,
            };
            assert!(fits, "{}: {:?}", entry.path, entry.default);
        }
    }

    #[test]
    fn aliases_point_at_effective_or_idle_keys() {
        for entry in entries() {
            if let Status::Alias { of } = entry.status {
                assert!(entries().any(|target| target.path == of), "{}", entry.path);
            }
        }
    }
}
