//! Reading typed values out of the document.
//!
//! A [`Section`] walks document and table side by side: every value is read by the name of its key,
//! judged by the kind in its row and replaced by the row's default when absent. Problems are
//! collected rather than returned, so that an operator sees all of them at once; the placeholder
//! returned with a problem never leaves [`load`](super::load).

use std::cell::RefCell;
use std::time::Duration;

use super::check::join;
use super::document::{Location, Map, Meaning, Node, Pair, Scalar};
use super::duration;
use super::keys::{Branch, Entry, Kind, tree};
use super::problem::{Problem, Warning};

/// What reading produced besides values.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) problems: RefCell<Vec<Problem>>,
    pub(super) warnings: RefCell<Vec<Warning>>,
    /// Every row that was asked for.
    #[cfg(test)]
    pub(super) reads: RefCell<std::collections::BTreeSet<&'static str>>,
}

/// A section, or an item of a list, of the document; it may be absent.
#[derive(Clone)]
pub(super) struct Section<'d> {
    node: Option<&'d Node>,
    /// Where to point when a required key is missing.
    at: Location,
    branch: &'static Branch,
    path: String,
    notes: &'d Notes,
}

/// A value that is set, with what is needed to talk about it.
pub(super) struct Found<'d> {
    pub(super) scalar: &'d Scalar,
    entry: &'static Entry,
}

impl Found<'_> {
    /// The value for a message, unless it is a secret.
    fn described(&self) -> String {
        if self.entry.secret {
            "a value that is not shown".to_owned()
        } else {
            self.scalar.described()
        }
    }
}

impl<'d> Section<'d> {
    /// The whole document.
    pub(super) fn top(root: &'d Node, notes: &'d Notes) -> Self {
        Self {
            node: Some(root),
            at: root.at.clone(),
            branch: tree(),
            path: String::new(),
            notes,
        }
    }

    /// The section under a key.
    pub(super) fn section(&self, name: &str) -> Self {
        let pair = self.pair(name);
        let branch = self.branch.child(name);
        debug_assert!(
            branch.is_some(),
            "{} is not in the table",
            join(&self.path, name)
        );
        if let Some(entry) = branch.and_then(|branch| branch.entry) {
            self.note_read(entry);
        }
        Self {
            node: pair
                .map(|pair| &pair.value)
                .filter(|node| node.as_map().is_some()),
            at: pair.map_or_else(|| self.at.clone(), |pair| pair.at.clone()),
            branch: branch.unwrap_or(self.branch),
            path: join(&self.path, name),
            notes: self.notes,
        }
    }

    /// The items of a list of sections.
    pub(super) fn items(&self, name: &str) -> Vec<Self> {
        let path = join(&self.path, name);
        let branch = self
            .branch
            .child(name)
            .and_then(|child| child.item.as_deref());
        debug_assert!(branch.is_some(), "{path}[] is not in the table");
        let (Some(branch), Some(items)) = (branch, self.get(name).and_then(Node::as_list)) else {
            return Vec::new();
        };
        let item = |(index, node): (usize, &'d Node)| Self {
            node: Some(node),
            at: node.at.clone(),
            branch,
            path: format!("{path}[{index}]"),
            notes: self.notes,
        };
        items.iter().enumerate().map(item).collect()
    }

    /// Every key of a section whose keys the operator chooses.
    pub(super) fn free_keys(&self) -> impl Iterator<Item = &'d Pair> {
        if let Some(wildcard) = &self.branch.wildcard {
            let leaf = wildcard.item.as_deref().unwrap_or(wildcard);
            if let Some(entry) = leaf.entry {
                self.note_read(entry);
            }
        }
        self.node
            .and_then(Node::as_map)
            .into_iter()
            .flat_map(|map| map.iter())
    }

    /// Whether the section is written, with keys or without.
    pub(super) fn is_set(&self) -> bool {
        self.node.is_some()
    }

    /// Whether a key is written with a value.
    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some_and(|node| !node.is_null())
    }

    /// The keys that are written.
    pub(super) fn map(&self) -> Option<&'d Map> {
        self.node?.as_map()
    }

    /// Its path, for messages.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Its place, for messages.
    pub(super) fn at(&self) -> &Location {
        &self.at
    }

    fn pair(&self, name: &str) -> Option<&'d Pair> {
        self.node?.as_map()?.pair(name)
    }

    /// The node under a key.
    pub(super) fn get(&self, name: &str) -> Option<&'d Node> {
        self.pair(name).map(|pair| &pair.value)
    }

    /// A key whose value is text, as written; `None` when unset or empty and without default.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let entry = self.entry(name)?;
        match self.found(name, entry) {
            Some(found) if !found.scalar.text.is_empty() => Some(found.scalar.text.clone()),
            Some(_) => None,
            None => Some(entry.default.to_owned()).filter(|text| !text.is_empty()),
        }
    }

    /// A text that must be given.
    pub(super) fn required_text(&self, name: &str) -> String {
        self.text(name).unwrap_or_else(|| {
            self.refuse(name, "is required");
            String::new()
        })
    }

    /// A key whose value is a path.
    pub(super) fn path_of(&self, name: &str) -> Option<std::path::PathBuf> {
        let text = self.text(name)?;
        if text.contains('\0') {
            self.refuse(name, "a path cannot contain a NUL character");
        }
        Some(text.into())
    }

    /// A path that must be given.
    pub(super) fn required_path(&self, name: &str) -> std::path::PathBuf {
        self.path_of(name).unwrap_or_else(|| {
            self.refuse(name, "is required");
            std::path::PathBuf::new()
        })
    }

    /// A truth value; unset without a default is `false`.
    pub(super) fn flag(&self, name: &str) -> bool {
        let Some(entry) = self.entry(name) else {
            return false;
        };
        let Some(found) = self.found(name, entry) else {
            return entry.default == "true";
        };
        match found.scalar.meaning {
            Meaning::Bool(value) => value,
            _ => {
                let text = format!(
                    "expected true or false without quotes, found {}",
                    found.described()
                );
                self.refuse(name, text);
                false
            }
        }
    }

    /// A whole number within the bounds of its row.
    pub(super) fn integer(&self, name: &str) -> Option<i64> {
        let entry = self.entry(name)?;
        let Some(found) = self.found(name, entry) else {
            return entry.default.parse().ok();
        };
        let (min, max) = match entry.kind {
            Kind::Integer { min, max } => (min, max),
            _ => (i64::MIN, i64::MAX),
        };
        match found.scalar.meaning {
            Meaning::Integer(value) if (min..=max).contains(&value) => Some(value),
            _ => {
                let bounds = match (min, max) {
                    (i64::MIN, _) => String::new(),
                    (_, i64::MAX) => format!(" of at least {min}"),
                    _ => format!(" from {min} to {max}"),
                };
                let text = format!(
                    "expected a whole number{bounds}, found {}",
                    found.described()
                );
                self.refuse(name, text);
                None
            }
        }
    }

    /// A count that has a default or a lower bound of zero.
    pub(super) fn count(&self, name: &str) -> usize {
        let value = self.integer(name).unwrap_or_default();
        usize::try_from(value).unwrap_or_default()
    }

    /// The default of a count.
    pub(super) fn default_count(&self, name: &str) -> usize {
        self.entry(name)
            .and_then(|entry| entry.default.parse().ok())
            .unwrap_or_default()
    }

    /// A Go duration in nanoseconds. A bare whole number counts nanoseconds, which is seldom meant.
    pub(super) fn nanoseconds(&self, name: &str) -> Option<i64> {
        let entry = self.entry(name)?;
        let Some(found) = self.found(name, entry) else {
            return duration::parse(entry.default);
        };
        let value = match found.scalar.meaning {
            Meaning::Integer(value) => {
                if value != 0 {
                    let text = format!(
                        "{value} without a unit is {value} nanoseconds; write {value}s for seconds"
                    );
                    self.warn(name, text);
                }
                Some(value)
            }
            Meaning::String => duration::parse(&found.scalar.text),
            Meaning::Null | Meaning::Bool(_) | Meaning::Float(_) => None,
        };
        if value.is_none() {
            let text = format!(
                "expected a duration such as 10s or 1h30m, found {}",
                found.described()
            );
            self.refuse(name, text);
        }
        value
    }

    /// A duration of zero or more.
    pub(super) fn duration(&self, name: &str) -> Option<Duration> {
        let nanoseconds = self.nanoseconds(name)?;
        match u64::try_from(nanoseconds) {
            Ok(nanoseconds) => Some(Duration::from_nanos(nanoseconds)),
            Err(_) => {
                self.refuse(name, "a duration below zero makes no sense here");
                None
            }
        }
    }

    /// A duration above zero; zero counts as unset, so that the default applies.
    pub(super) fn positive_duration(&self, name: &str) -> Duration {
        match self.duration(name) {
            Some(duration) if !duration.is_zero() => duration,
            _ => self.default_duration(name),
        }
    }

    /// The default of a duration.
    pub(super) fn default_duration(&self, name: &str) -> Duration {
        self.entry(name)
            .and_then(|entry| duration::parse(entry.default))
            .and_then(|nanoseconds| u64::try_from(nanoseconds).ok())
            .map_or(Duration::ZERO, Duration::from_nanos)
    }

    /// One word of those the row allows, in its usual spelling. `wrong` phrases the refusal.
    pub(super) fn choice(&self, name: &str, wrong: impl Fn(&str) -> String) -> &'static str {
        let Some(entry) = self.entry(name) else {
            return "";
        };
        let Kind::Choice(options) = entry.kind else {
            return "";
        };
        let written = match self.found(name, entry) {
            Some(found) if !found.scalar.text.is_empty() => found.scalar.text.as_str(),
            _ => return entry.default,
        };
        match options
            .iter()
            .find(|option| option.eq_ignore_ascii_case(written))
        {
            Some(option) => option,
            None => {
                let short: String = written.chars().take(80).collect();
                self.refuse(name, wrong(short.escape_debug().to_string().as_str()));
                entry.default
            }
        }
    }

    /// The scalars of a list with their nodes, so that each can be judged at its own place.
    pub(super) fn list(&self, name: &str) -> Vec<(&'d Node, &'d str)> {
        let item = self
            .branch
            .child(name)
            .and_then(|child| child.item.as_deref());
        debug_assert!(
            item.is_some(),
            "{}[] is not in the table",
            join(&self.path, name)
        );
        if let Some(entry) = item.and_then(|item| item.entry) {
            self.note_read(entry);
        }
        let items = self.get(name).and_then(Node::as_list).unwrap_or_default();
        for node in items.iter().filter(|node| node.is_null()) {
            // Dropping it could empty a list whose presence turns a protection on.
            let key = join(&self.path, name);
            self.refuse_at(&node.at, &key, "an item of the list is empty");
        }
        items
            .iter()
            .filter_map(|node| Some((node, node.as_scalar()?.text.as_str())))
            .collect()
    }

    /// Reports a problem with the value of a key, or with the section when the key is absent.
    pub(super) fn refuse(&self, name: &str, text: impl Into<String>) {
        let at = self.place(name);
        self.refuse_at(&at, &join(&self.path, name), text);
    }

    /// Reports a problem at a place.
    pub(super) fn refuse_at(&self, at: &Location, key: &str, text: impl Into<String>) {
        self.notes.problems.borrow_mut().push(Problem {
            at: at.clone(),
            key: key.to_owned(),
            text: text.into(),
        });
    }

    /// Warns about a key.
    pub(super) fn warn(&self, name: &str, text: impl AsRef<str>) {
        let text = format!("{}: {}", join(&self.path, name), text.as_ref());
        self.notes
            .warnings
            .borrow_mut()
            .push(Warning::new(&self.place(name), text));
    }

    /// Warns about a place; the text names the key.
    pub(super) fn warn_at(&self, at: &Location, text: String) {
        self.notes
            .warnings
            .borrow_mut()
            .push(Warning::new(at, text));
    }

    /// Tells what makes no difference; the text names the key.
    pub(super) fn notice_at(&self, at: &Location, text: String) {
        self.notes
            .warnings
            .borrow_mut()
            .push(Warning::notice(at, text));
    }

    fn place(&self, name: &str) -> Location {
        match self.get(name) {
            Some(node) => node.at.clone(),
            None => self.at.clone(),
        }
    }

    fn entry(&self, name: &str) -> Option<&'static Entry> {
        let entry = self.branch.child(name).and_then(|child| child.entry);
        debug_assert!(
            entry.is_some(),
            "{} is not in the table",
            join(&self.path, name)
        );
        if let Some(entry) = entry {
            self.note_read(entry);
        }
        entry
    }

    fn found(&self, name: &str, entry: &'static Entry) -> Option<Found<'d>> {
        let scalar = self.get(name)?.as_scalar()?;
        Some(Found { scalar, entry })
    }

    #[cfg(test)]
    fn note_read(&self, entry: &'static Entry) {
        self.notes.reads.borrow_mut().insert(entry.path);
    }

    #[cfg(not(test))]
    fn note_read(&self, _: &'static Entry) {}
}
