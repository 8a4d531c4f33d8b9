//! Why a manifest is looked at again.

use crate::{Error, Result};

/// Why a manifest is looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// An index that named it is gone.
    ParentGone = 0,
    /// Its subject is gone.
    SubjectGone = 1,
    /// Its subject was not there when it came.
    SubjectAbsent = 2,
    /// It lost its last tag, or never had one.
    Untagged = 3,
}

impl Reason {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Reason; 4] = [
        Reason::ParentGone,
        Reason::SubjectGone,
        Reason::SubjectAbsent,
        Reason::Untagged,
    ];

    /// A word for it.
    pub fn name(self) -> &'static str {
        match self {
            Reason::ParentGone => "parent_gone",
            Reason::SubjectGone => "subject_gone",
            Reason::SubjectAbsent => "subject_absent",
            Reason::Untagged => "untagged",
        }
    }

    /// A sentence for it, to go on after "because".
    pub(super) fn text(self) -> &'static str {
        match self {
            Reason::ParentGone => "an index that named it was deleted",
            Reason::SubjectGone => "the manifest it is about was deleted",
            Reason::SubjectAbsent => "the manifest it is about has not come",
            Reason::Untagged => "it has no tag",
        }
    }

    /// The reason with this number in the database.
    pub(super) fn from_code(code: i64) -> Result<Reason> {
        let known = usize::try_from(code)
            .ok()
            .and_then(|code| Reason::ALL.get(code));
        known.copied().ok_or_else(|| {
            Error::corrupt(format!(
                "a manifest is queued for the unknown reason {code}"
            ))
        })
    }
}
