//! Hot answers kept in memory, never stale after an acknowledged change.
//!
//! Every repository name hashes to one of [`STRIPES`] version counters. The writer, once a change has
//! committed and before anybody is told so, adds one to the counter of the repository whose answers it
//! may have made wrong. A reader notes the counter *before* it asks the database and stores its answer
//! with that number; an entry counts only while the counter still shows it.
//!
//! Why that suffices: take an acknowledged change C and a read that begins after the acknowledgement.
//! It sees a counter at least as high as C left it, and counters only rise. An entry that bears this
//! very number was made by a reader who saw the counter after C raised it, hence asked the database
//! after C had committed, hence saw C. Any other entry is not used. Between commit and acknowledgement
//! either answer may be given, as for any two things that happen at once.
//!
//! That holds while one process makes all changes. Where nodes share a database, entries prove nothing: there
//! [`Cache::last`] only saves sending a payload again that the database says is still the one (`manifests`), and
//! nothing else is kept.
//!
//! Two names on one stripe cost each other a few extra look-ups, nothing else. Absence is never cached,
//! so whatever only adds need not raise a counter.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use holdfast_model::{Digest, Reference, RepositoryName};
use quick_cache::sync::{Cache as Entries, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, Equivalent, OptionsBuilder, Weighter};

use crate::StoredManifest;
use crate::blobs::LinkedBlob;

/// Version counters; a power of two.
const STRIPES: usize = 1024;
/// Parts of the cache with a lock each. The largest cacheable manifest is a part's share of the memory,
/// so more parts would keep large manifests out.
const SHARDS: usize = 8;
/// What an entry costs besides its payload and texts: keys, links, the two halves of `Arc`.
const ENTRY_OVERHEAD_BYTES: u64 = 256;
/// Expected size of an entry, for the first allocation only.
const TYPICAL_ENTRY_BYTES: u64 = 2048;

/// The version counters, shared by readers and the writer.
#[derive(Debug)]
pub(crate) struct Versions(Box<[AtomicU64]>);

/// Which counter speaks for a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stripe(usize);

impl Versions {
    pub(crate) fn new() -> Versions {
        Versions((0..STRIPES).map(|_| AtomicU64::new(0)).collect())
    }

    pub(crate) fn stripe(repository: &RepositoryName) -> Stripe {
        let mut hasher = DefaultHasher::new();
        repository.hash(&mut hasher);
        Stripe(hasher.finish() as usize % STRIPES)
    }

    /// To be called before the database is asked.
    pub(crate) fn now(&self, stripe: Stripe) -> Version {
        Version(self.0[stripe.0].load(Ordering::Acquire))
    }

    /// To be called between commit and acknowledgement.
    pub(crate) fn raise(&self, stripe: Stripe) {
        self.0[stripe.0].fetch_add(1, Ordering::AcqRel);
    }
}

impl Versions {
    /// The same for every repository.
    pub(crate) fn raise_all(&self) {
        for version in &self.0 {
            version.fetch_add(1, Ordering::AcqRel);
        }
    }
}

/// What a counter showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version(u64);

/// What was asked about a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Question<'a> {
    Tag(&'a str),
    Manifest(&'a Digest),
    Blob(&'a Digest),
}

impl<'a> From<&'a Reference> for Question<'a> {
    fn from(reference: &'a Reference) -> Self {
        match reference {
            Reference::Tag(tag) => Question::Tag(tag.as_str()),
            Reference::Digest(digest) => Question::Manifest(digest),
        }
    }
}

/// A question with everything it needs to outlive its asker.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    repository: RepositoryName,
    subject: Subject,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Subject {
    Tag(Box<str>),
    Manifest(Digest),
    Blob(Digest),
}

impl Key {
    fn question(&self) -> Question<'_> {
        match &self.subject {
            Subject::Tag(tag) => Question::Tag(tag),
            Subject::Manifest(digest) => Question::Manifest(digest),
            Subject::Blob(digest) => Question::Blob(digest),
        }
    }
}

/// A borrowed key. It must hash as [`Key`] does, so `Key` hashes by becoming one.
#[derive(Hash)]
struct KeyRef<'a>(&'a RepositoryName, Question<'a>);

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        KeyRef(&self.repository, self.question()).hash(state);
    }
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        *self.0 == key.repository && self.1 == key.question()
    }
}

/// A cached answer.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Manifest(Arc<StoredManifest>),
    Blob(Arc<LinkedBlob>),
}

#[derive(Clone, Debug)]
struct Entry {
    version: Version,
    answer: Answer,
}

#[derive(Clone, Debug)]
struct Weigh;

impl Weighter<Key, Entry> for Weigh {
    fn weight(&self, key: &Key, entry: &Entry) -> u64 {
        let tag = if let Subject::Tag(tag) = &key.subject {
            tag.len()
        } else {
            0
        };
        let answer = match &entry.answer {
            Answer::Manifest(manifest) => manifest.payload.len(),
            Answer::Blob(blob) => blob.storage_key.len(),
        };
        ENTRY_OVERHEAD_BYTES + (key.repository.as_str().len() + tag + answer) as u64
    }
}

/// The cache; see the module.
#[derive(Debug)]
pub(crate) struct Cache {
    versions: Arc<Versions>,
    /// None when the cache is off.
    entries: Option<Entries<Key, Entry, Weigh>>,
}

impl Cache {
    pub(crate) fn new(limit_bytes: u64, versions: Arc<Versions>) -> Cache {
        let entries = (limit_bytes > 0).then(|| {
            let options = OptionsBuilder::new()
                .shards(SHARDS)
                .estimated_items_capacity((limit_bytes / TYPICAL_ENTRY_BYTES).max(1) as usize)
                .weight_capacity(limit_bytes)
                .build()
                .expect("capacity and estimate are both set");
            Entries::with_options(
                options,
                Weigh,
                DefaultHashBuilder::default(),
                DefaultLifecycle::default(),
            )
        });
        Cache { versions, entries }
    }

    /// The answer if it is known and current, and the version to store a fresh one with.
    pub(crate) fn get(
        &self,
        repository: &RepositoryName,
        question: Question<'_>,
    ) -> (Version, Option<Answer>) {
        let current = self.versions.now(Versions::stripe(repository));
        let answer = self
            .entries
            .as_ref()
            .and_then(|entries| entries.get(&KeyRef(repository, question)))
            .filter(|entry| entry.version == current)
            .map(|entry| entry.answer);
        (current, answer)
    }

    /// The answer of the last time, current or not, and the version to store a fresh one with. For a database that
    /// others change as well: what is kept then is only what need not be sent again.
    pub(crate) fn last(
        &self,
        repository: &RepositoryName,
        question: Question<'_>,
    ) -> (Version, Option<Answer>) {
        let current = self.versions.now(Versions::stripe(repository));
        let entries = self.entries.as_ref();
        let answer = entries.and_then(|entries| entries.get(&KeyRef(repository, question)));
        (current, answer.map(|entry| entry.answer))
    }

    /// Keeps an answer read from the database after `version` was noted.
    pub(crate) fn put(
        &self,
        repository: &RepositoryName,
        question: Question<'_>,
        version: Version,
        answer: Answer,
    ) {
        let Some(entries) = &self.entries else { return };
        let subject = match question {
            Question::Tag(tag) => Subject::Tag(tag.into()),
            Question::Manifest(digest) => Subject::Manifest(*digest),
            Question::Blob(digest) => Subject::Blob(*digest),
        };
        entries.insert(
            Key {
                repository: repository.clone(),
                subject,
            },
            Entry { version, answer },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use holdfast_model::MediaType;

    fn manifest(bytes: usize) -> Answer {
        Answer::Manifest(Arc::new(StoredManifest {
            digest: Digest::sha256([1; 32]),
            media_type: MediaType::OCI_MANIFEST,
            payload: Bytes::from(vec![0; bytes]),
        }))
    }

    #[test]
    fn an_answer_counts_until_its_repository_changes() {
        let versions = Arc::new(Versions::new());
        let cache = Cache::new(1 << 20, versions.clone());
        let repository: RepositoryName = "a/b".parse().unwrap();
        let question = Question::Tag("latest");
        let (version, answer) = cache.get(&repository, question);
        assert!(answer.is_none());
        cache.put(&repository, question, version, manifest(10));
        assert!(cache.get(&repository, question).1.is_some());
        assert!(cache.get(&repository, Question::Tag("other")).1.is_none());

        // A reader that was asking while the writer committed stores its answer too late.
        let (before, _) = cache.get(&repository, question);
        versions.raise(Versions::stripe(&repository));
        assert!(cache.get(&repository, question).1.is_none());
        cache.put(&repository, question, before, manifest(10));
        assert!(cache.get(&repository, question).1.is_none());
    }

    #[test]
    fn memory_is_bounded() {
        let cache = Cache::new(1 << 20, Arc::new(Versions::new()));
        let repository: RepositoryName = "a/b".parse().unwrap();
        for number in 0..10_000 {
            let tag = number.to_string();
            let (version, _) = cache.get(&repository, Question::Tag(&tag));
            cache.put(&repository, Question::Tag(&tag), version, manifest(2_000));
        }
        assert!(cache.entries.unwrap().weight() <= 1 << 20);
    }
}
