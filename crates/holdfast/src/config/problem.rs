//! What can be said about a configuration: problems that stop the start, and warnings.

use std::fmt;

use super::document::Location;

/// Most problems, and most warnings, that are listed one by one; the rest are counted.
pub(super) const MAX_LISTED: usize = 100;

/// One reason why the configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where the value is written.
    pub at: Location,
    /// The key, as in `health.http[0].uri`; empty when the text could not be read at all.
    pub key: String,
    /// What is wrong with it.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() {
            write!(formatter, "{}: {}", self.at, self.text)
        } else {
            write!(formatter, "{}: {}: {}", self.at, self.key, self.text)
        }
    }
}

/// Why a configuration was refused: every problem found, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", one_per_line(.problems))]
pub struct Error {
    /// The problems; there is at least one.
    pub problems: Vec<Problem>,
}

impl Error {
    /// Sorts the problems by place; a place that was reported twice in the same words counts once.
    pub(super) fn new(mut problems: Vec<Problem>) -> Self {
        problems.sort();
        problems.dedup();
        Self { problems }
    }
}

fn one_per_line(problems: &[Problem]) -> String {
    let mut lines: Vec<String> = problems
        .iter()
        .take(MAX_LISTED)
        .map(Problem::to_string)
        .collect();
    if problems.len() > MAX_LISTED {
        lines.push(format!("and {} more problems", problems.len() - MAX_LISTED));
    }
    lines.join("\n")
}

/// How much a warning should disturb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Nothing is lost: a setting that has no meaning in this registry.
    Notice,
    /// The operator asked for something and does not get exactly that.
    Warning,
}

/// Something the operator should know about a configuration that is used all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// How much it should disturb.
    pub level: Level,
    /// Where the value is written; `None` when the message names several places itself.
    pub at: Option<Location>,
    /// The message, which names the key.
    pub text: String,
}

impl Warning {
    /// A warning about one place.
    pub(super) fn new(at: &Location, text: impl Into<String>) -> Self {
        Self {
            level: Level::Warning,
            at: Some(at.clone()),
            text: text.into(),
        }
    }

    /// A notice about one place.
    pub(super) fn notice(at: &Location, text: impl Into<String>) -> Self {
        Self {
            level: Level::Notice,
            ..Self::new(at, text)
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.at {
            Some(at) => write!(formatter, "{at}: {}", self.text),
            None => formatter.write_str(&self.text),
        }
    }
}

/// Keeps a flood of warnings readable: after [`MAX_LISTED`] only their number is told.
pub(super) fn shorten(warnings: &mut Vec<Warning>) {
    if warnings.len() > MAX_LISTED {
        let more = warnings.len() - MAX_LISTED;
        warnings.truncate(MAX_LISTED);
        warnings.push(Warning {
            level: Level::Warning,
            at: None,
            text: format!("and {more} more warnings"),
        });
    }
}
