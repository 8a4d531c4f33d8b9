//! What an upload's record says of the place where its bytes are, so that any node can go on.
//!
//! The text is ours to read again: an older node may meet what a newer one wrote only if a field is added that it
//! may overlook.

use serde::{Deserialize, Serialize};

/// Where the bytes of an upload are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// One object that has every byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) whole: Option<Piece>,
    /// A multipart upload that has all but the bytes of the tail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) parts: Option<Sent>,
    /// An object with what came after the last part and is too little for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) tail: Option<Piece>,
    /// Objects that the record before this one named; they may be deleted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) old: Vec<String>,
}

/// An object with a piece of the upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Piece {
    pub(super) key: String,
    pub(super) size: u64,
}

/// A multipart upload and the parts that are stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sent {
    pub(super) key: String,
    pub(super) id: String,
    /// Bytes of all parts.
    pub(super) size: u64,
    /// What the service calls each part.
    pub(super) tags: Vec<String>,
}

impl State {
    /// Bytes of the upload.
    pub(super) fn size(&self) -> u64 {
        let pieces = [&self.whole, &self.tail].map(|piece| piece.as_ref().map_or(0, |at| at.size));
        pieces[0] + pieces[1] + self.parts.as_ref().map_or(0, |parts| parts.size)
    }

    pub(super) fn save(&self) -> Option<String> {
        (self != &State::default())
            .then(|| serde_json::to_string(self).expect("texts and numbers are JSON"))
    }

    /// What was saved; `None` when that is not such a text.
    pub(super) fn restore(text: Option<&str>) -> Option<State> {
        text.map_or_else(
            || Some(State::default()),
            |text| serde_json::from_str(text).ok(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_comes_back() {
        let piece = |key: &str, size| {
            Some(Piece {
                key: key.to_owned(),
                size,
            })
        };
        let states = [
            State::default(),
            State {
                whole: piece("w", 7),
                ..State::default()
            },
            State {
                parts: Some(Sent {
                    key: "m".to_owned(),
                    id: "\"<&".to_owned(),
                    size: 20,
                    tags: vec!["\"1\"".to_owned(), String::new()],
                }),
                tail: piece("t", 3),
                old: vec!["u".to_owned()],
                ..State::default()
            },
        ];
        for (state, size) in states.into_iter().zip([0, 7, 23]) {
            assert_eq!(state.size(), size);
            assert_eq!(State::restore(state.save().as_deref()), Some(state));
        }
        assert_eq!(State::default().save(), None);
        assert_eq!(State::restore(Some("part 1")), None);
    }
}
