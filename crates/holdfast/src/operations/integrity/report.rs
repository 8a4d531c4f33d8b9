//! What a check reports.

use holdfast_metadata::Affected;
use holdfast_model::Digest;
use serde::{Deserialize, Serialize};

/// What may be damaged. The names are stable: scripts look for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// The engine finds its file damaged.
    DatabaseFile,
    /// Rows refer to rows that are not there.
    DatabaseReference,
    /// A repository has a blob of which there is no row.
    LinkWithoutBlob,
    /// A link that manifests need is not marked as in use.
    LinkUnmarked,
    /// A link that nothing needs is marked as in use, and the collector does not know.
    LinkForgotten,
    /// A manifest needs a blob that is not linked to it or to its repository.
    BlobUnlinked,
    /// A blob that no repository has, and the collector does not know.
    BlobForgotten,
    /// The payload of a manifest is not what its digest says.
    ManifestDigest,
    /// What was drawn from a manifest (type, subject, annotations, size) is not what it says.
    ManifestFacts,
    /// The manifests an index names are not those in the database.
    ManifestChildren,
    /// The blobs a manifest names are not those in the database.
    ManifestBlobs,
    /// A tag points at a manifest that is not there.
    TagTarget,
    /// A repository is listed without a manifest, or is not although it has one.
    RepositoryListed,
    /// The bytes of a blob are not there.
    BlobMissing,
    /// The bytes of a blob are more or fewer than they were.
    BlobSize,
    /// The bytes of a blob are not what its digest says.
    BlobDigest,
    /// A blob that was found damaged before waits for a push.
    BlobDamaged,
    /// The bytes of a blob in use are about to be deleted.
    BlobDiscarded,
    /// A blob is deleted, and nothing is about to delete its bytes.
    DoomedForgotten,
    /// A stored object of which nothing is known.
    ObjectOrphan,
    /// Staged bytes of an upload that is not known.
    StagingOrphan,
    /// An upload session whose bytes are not there.
    UploadBytes,
}

impl Kind {
    /// Its name in reports.
    pub(crate) fn name(self) -> String {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::String(name)) => name,
            _ => format!("{self:?}"),
        }
    }
}

/// What became of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// It was reported, as asked.
    Found,
    /// It is in order again.
    Repaired,
    /// It could not be repaired; it is kept from doing harm where that is possible.
    Left,
}

/// One damage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Finding {
    /// What is damaged.
    pub(crate) kind: Kind,
    /// What became of it.
    pub(crate) outcome: Outcome,
    /// The content concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) digest: Option<Digest>,
    /// More for people: a key, a length, what the engine says.
    pub(crate) detail: String,
    /// The repositories concerned, with the tags that cannot be relied on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) affected: Vec<Touched>,
    /// Whether more are affected than are named.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) more: bool,
}

/// A repository that a damage touches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Touched {
    /// Its name.
    pub(crate) repository: String,
    /// The tags whose images need what is damaged.
    pub(crate) tags: Vec<String>,
}

impl Finding {
    pub(super) fn new(kind: Kind, digest: Option<Digest>, detail: impl Into<String>) -> Finding {
        Finding {
            kind,
            outcome: Outcome::Found,
            digest,
            detail: detail.into(),
            affected: Vec::new(),
            more: false,
        }
    }

    /// Names what it touches.
    pub(super) fn touching(mut self, affected: Affected) -> Finding {
        self.more = affected.more;
        self.affected = affected
            .repositories
            .into_iter()
            .map(|one| Touched {
                repository: one.repository.to_string(),
                tags: one.tags.iter().map(ToString::to_string).collect(),
            })
            .collect();
        self
    }

    /// Names the one repository that it is in.
    pub(super) fn within(mut self, repository: Option<&str>, tags: Vec<String>) -> Finding {
        let repository = repository
            .unwrap_or("(a repository without a name)")
            .to_owned();
        self.affected.push(Touched { repository, tags });
        self
    }
}

/// A line of a check.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(crate) enum Event {
    /// A part of the check begins.
    Begin {
        /// What is looked at: `database`, `links`, `manifests`, `tags`, `repositories`, `blobs`,
        /// `objects`, `uploads`.
        part: String,
    },
    /// Damage.
    Finding(Finding),
    /// Something could not be looked at, which says nothing about it.
    Unchecked {
        /// What.
        subject: String,
        /// Why.
        reason: String,
    },
    /// The end.
    Summary(Summary),
}

/// What a check came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Summary {
    /// Links looked at.
    pub(crate) links: u64,
    /// Manifests looked at.
    pub(crate) manifests: u64,
    /// Blobs looked at.
    pub(crate) blobs: u64,
    /// Objects looked at.
    pub(crate) objects: u64,
    /// Bytes of blobs that were read.
    pub(crate) bytes_read: u64,
    /// Damage that was found.
    pub(crate) found: u64,
    /// How much of it was repaired.
    pub(crate) repaired: u64,
    /// What could not be looked at.
    pub(crate) unchecked: u64,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_reference_describes_every_kind() {
        let page = include_str!("../../../../../docs/reference/damage.md");
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
        let names = rows.filter_map(|row| Some(row.split_once('`')?.0));
        let kinds: BTreeSet<Kind> = names
            .map(|name| serde_json::from_value(name.into()).expect(name))
            .collect();
        assert_eq!(kinds.len(), Kind::UploadBytes as usize + 1, "{kinds:?}");
    }

    #[test]
    fn events_are_read_as_they_are_written() {
        let digest = Digest::sha256([1; 32]);
        let finding = Finding::new(Kind::BlobMissing, Some(digest), "key");
        let events = [
            Event::Finding(finding.within(Some("a/b"), vec!["v1".to_owned()])),
            Event::Summary(Summary::default()),
        ];
        for event in events {
            let text = serde_json::to_string(&event).unwrap();
            let read: Event = serde_json::from_str(&text).unwrap();
            assert_eq!(serde_json::to_string(&read).unwrap(), text);
        }
    }
}
