//! What the delete outbox names beside objects.

use std::fmt;
use std::str::FromStr;

use holdfast_model::UploadId;
use holdfast_storage::{Leftovers, StorageKey};

/// No storage key begins so.
const REST: &str = "rest:";

/// An entry of the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// An object.
    Object(StorageKey),
    /// Everything of an upload that came to nothing.
    Upload(UploadId),
    /// Everything of an upload except the object that it became.
    Rest(StorageKey),
}

/// The entries for what an upload has left behind that became this object.
pub(super) fn leftovers(object: &StorageKey, left: Leftovers) -> Vec<String> {
    match left {
        Leftovers::Objects(keys) => keys.iter().map(StorageKey::to_string).collect(),
        Leftovers::Unknown => vec![Entry::Rest(object.clone()).to_string()],
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Entry::Object(key) => write!(f, "{key}"),
            Entry::Upload(id) => write!(f, "{id}"),
            Entry::Rest(object) => write!(f, "{REST}{object}"),
        }
    }
}

impl FromStr for Entry {
    type Err = holdfast_storage::StorageKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(id) = text.parse() {
            return Ok(Entry::Upload(id));
        }
        match text.strip_prefix(REST) {
            Some(object) => Ok(Entry::Rest(object.parse()?)),
            None => Ok(Entry::Object(text.parse()?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_as_they_were_written() {
        let id = UploadId::from_random([7; 16]);
        let text = id.to_string();
        let object: StorageKey = format!("holdfast/blobs/{}/{text}.w1", &text[..2])
            .parse()
            .unwrap();
        for entry in [
            Entry::Object(object.clone()),
            Entry::Upload(id),
            Entry::Rest(object),
        ] {
            assert_eq!(entry.to_string().parse::<Entry>().unwrap(), entry);
        }
        for broken in ["", "rest:", "rest:../x", "a b"] {
            assert!(broken.parse::<Entry>().is_err(), "{broken}");
        }
    }
}
