//! Storing what a source gives out.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use holdfast_model::manifest::is_foreign;
use holdfast_model::{Digest, Manifest, Reference, RepositoryName, Tag};
use regex::Regex;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::{Failure, Fetched, Source};
use crate::error_chain::chain;
use crate::held::Held;
use crate::operations::{Error, Operations};

/// How often a blob is asked for before it counts as failed.
const BLOB_ATTEMPTS: usize = 3;
/// Manifests in manifests, and referrers of referrers, that are followed.
const DEPTH_MAX: usize = 8;
/// Tags that are copied at once unless asked otherwise.
const JOBS: usize = 4;
/// Most tags that are copied at once.
const JOBS_MAX: usize = 64;

/// What is to be imported.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Import {
    /// One repository; all without it.
    pub(crate) repository: Option<RepositoryName>,
    /// One tag or digest of it; all tags without it.
    pub(crate) reference: Option<String>,
    /// Only these, as `repository` or `repository:tag`, with `*` for any text.
    pub(crate) only: Vec<String>,
    /// None of these.
    pub(crate) except: Vec<String>,
    /// What names begin with here.
    pub(crate) prefix: String,
    /// What the one repository is called here.
    pub(crate) target: Option<RepositoryName>,
    /// Only say what would be copied.
    pub(crate) dry_run: bool,
    /// Tags that are copied at once.
    pub(crate) jobs: usize,
}

/// What happened to one tag or manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum What {
    /// It was stored.
    Copied,
    /// It was there.
    Present,
    /// It would be stored.
    WouldCopy,
    /// It could not be had, or was refused.
    Failed,
    /// All is done.
    Done,
}

/// Sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Totals {
    /// Repositories looked at.
    pub(crate) repositories: u64,
    /// Tags stored.
    pub(crate) tags: u64,
    /// Tags that were there.
    pub(crate) present: u64,
    /// Manifests stored, those of indexes and referrers too.
    pub(crate) manifests: u64,
    /// Blobs fetched.
    pub(crate) blobs: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// What failed.
    pub(crate) failed: u64,
}

/// A line about an import under way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Event {
    /// What happened.
    pub(crate) what: What,
    /// The repository here.
    pub(crate) repository: String,
    /// Its tag or digest.
    pub(crate) reference: String,
    /// Why it failed.
    pub(crate) detail: String,
    /// Sums so far.
    pub(crate) totals: Totals,
}

#[derive(Default)]
struct Counters {
    repositories: AtomicU64,
    tags: AtomicU64,
    present: AtomicU64,
    manifests: AtomicU64,
    blobs: AtomicU64,
    bytes: AtomicU64,
    failed: AtomicU64,
}

/// An import under way.
pub(crate) struct Copying {
    operations: Operations,
    source: Arc<dyn Source>,
    import: Import,
    only: Vec<Regex>,
    except: Vec<Regex>,
    events: mpsc::Sender<Event>,
    counters: Counters,
    /// Blobs that are being fetched: one is not fetched twice at once.
    fetching: Held<Digest>,
}

/// A repository there and here.
struct Pair {
    from: RepositoryName,
    to: RepositoryName,
}

impl Copying {
    /// Prepares an import; the error says what in it makes no sense.
    pub(crate) fn new(
        operations: Operations,
        source: Arc<dyn Source>,
        import: Import,
        events: mpsc::Sender<Event>,
    ) -> Result<Copying, Failure> {
        let patterns = |texts: &[String]| -> Result<Vec<Regex>, Failure> {
            texts.iter().map(|text| pattern(text)).collect()
        };
        Ok(Copying {
            only: patterns(&import.only)?,
            except: patterns(&import.except)?,
            operations,
            source,
            import,
            events,
            counters: Counters::default(),
            fetching: Held::default(),
        })
    }

    /// Imports; the sums. An error means that nothing more could be done.
    pub(crate) async fn run(&self) -> Result<Totals, Failure> {
        let repositories = match &self.import.repository {
            Some(one) => vec![one.clone()],
            None => self.source.repositories().await?,
        };
        for from in repositories {
            if !self.wants_repository(from.as_str()) {
                continue;
            }
            let to = match &self.import.target {
                Some(target) => target.clone(),
                None => {
                    let name = format!("{}{from}", self.import.prefix);
                    name.parse().map_err(|error| format!("{name}: {error}"))?
                }
            };
            self.repository(&Pair { from, to }).await;
            if self.events.is_closed() {
                return Err("nobody follows the import any more".to_owned());
            }
        }
        let totals = self.totals();
        self.say(What::Done, "", "", String::new()).await;
        Ok(totals)
    }

    async fn repository(&self, pair: &Pair) {
        add(&self.counters.repositories, 1);
        let references: Vec<Reference> = match &self.import.reference {
            Some(reference) => match reference.parse() {
                Ok(reference) => vec![reference],
                Err(error) => {
                    let why = format!("{reference}: {error}");
                    return self.failed(pair, reference, why).await;
                }
            },
            None => match self.source.references(&pair.from).await {
                Ok(references) => references,
                Err(why) => return self.failed(pair, "", why).await,
            },
        };
        let wanted = references
            .into_iter()
            .filter(|reference| self.wants(&pair.from, reference));
        let jobs = match self.import.jobs {
            0 => JOBS,
            asked => asked.min(JOBS_MAX),
        };
        futures_util::stream::iter(wanted)
            .map(|reference| self.reference(pair, reference))
            .buffer_unordered(jobs)
            .collect::<Vec<()>>()
            .await;
    }

    async fn reference(&self, pair: &Pair, reference: Reference) {
        if self.events.is_closed() {
            return;
        }
        let text = reference.to_string();
        match self.copy_reference(pair, &reference).await {
            Ok(what) => {
                let counter = match what {
                    What::Present => &self.counters.present,
                    _ => &self.counters.tags,
                };
                add(counter, 1);
                self.say(what, pair.to.as_str(), &text, String::new()).await;
            }
            Err(why) => self.failed(pair, &text, why).await,
        }
    }

    async fn copy_reference(&self, pair: &Pair, reference: &Reference) -> Result<What, Failure> {
        let fetched = self.source.manifest(&pair.from, reference).await?;
        let fetched = fetched.ok_or("the source has no such manifest")?;
        let here = match self.operations.manifest(&pair.to, reference).await {
            Ok(stored) => stored.digest == fetched.digest,
            Err(Error::ManifestUnknown { .. }) => false,
            Err(error) => return Err(chain(&error)),
        };
        if self.import.dry_run {
            return Ok(if here { What::Present } else { What::WouldCopy });
        }
        let digest = fetched.digest;
        if !here {
            let tags = match reference {
                Reference::Tag(tag) => vec![tag.clone()],
                Reference::Digest(_) => Vec::new(),
            };
            self.manifest(pair, fetched, tags, 0).await?;
        }
        // Signatures may have come since.
        let copied = self.referrers(pair, digest, 0).await?;
        Ok(if here && copied == 0 {
            What::Present
        } else {
            What::Copied
        })
    }

    /// Stores a manifest after what it names.
    fn manifest<'a>(
        &'a self,
        pair: &'a Pair,
        fetched: Fetched,
        tags: Vec<Tag>,
        depth: usize,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            if depth > DEPTH_MAX {
                return Err(format!("manifests are nested deeper than {DEPTH_MAX}"));
            }
            let manifest = Manifest::parse(&fetched.media_type, &fetched.payload)
                .map_err(|error| error.to_string())?;
            let mut children = HashSet::new();
            for child in &manifest.children {
                if !children.insert(child.digest) {
                    continue;
                }
                let reference = Reference::Digest(child.digest);
                if self.operations.manifest(&pair.to, &reference).await.is_ok() {
                    continue;
                }
                match self.source.manifest(&pair.from, &reference).await? {
                    Some(child) => self.manifest(pair, child, Vec::new(), depth + 1).await?,
                    // A blob, as in the caches of BuildKit; or absent, and then the push of the index decides.
                    None => drop(self.blob(pair, &child.digest).await?),
                }
            }
            let mut blobs = HashSet::new();
            for blob in manifest.blobs() {
                if !blobs.insert(blob.digest) || is_foreign(blob) {
                    continue;
                }
                if !self.blob(pair, &blob.digest).await? {
                    return Err(format!("the source does not have blob {}", blob.digest));
                }
            }
            let reference = Reference::Digest(fetched.digest);
            self.operations
                .push_manifest(
                    &pair.to,
                    &reference,
                    tags,
                    &fetched.media_type,
                    fetched.payload,
                )
                .await
                .map_err(|error| chain(&error))?;
            add(&self.counters.manifests, 1);
            for child in &manifest.children {
                self.referrers(pair, child.digest, depth + 1).await?;
            }
            Ok(())
        })
    }

    /// Stores the manifests that are about one; how many were not there.
    fn referrers<'a>(
        &'a self,
        pair: &'a Pair,
        subject: Digest,
        depth: usize,
    ) -> BoxFuture<'a, Result<u64, Failure>> {
        Box::pin(async move {
            if depth > DEPTH_MAX {
                return Ok(0);
            }
            let mut copied = 0;
            for digest in self.source.referrers(&pair.from, &subject).await? {
                let reference = Reference::Digest(digest);
                if self
                    .operations
                    .manifest(&pair.to, &reference)
                    .await
                    .is_err()
                    && let Some(found) = self.source.manifest(&pair.from, &reference).await?
                {
                    self.manifest(pair, found, Vec::new(), depth + 1).await?;
                    copied += 1;
                }
                copied += self.referrers(pair, digest, depth + 1).await?;
            }
            Ok(copied)
        })
    }

    /// Makes a blob present here; false when the source does not have it.
    async fn blob(&self, pair: &Pair, digest: &Digest) -> Result<bool, Failure> {
        let _fetching = self.fetching.wait(*digest).await;
        let failed = |error: Error| chain(&error);
        match self.operations.pushed_blob(&pair.to, digest).await {
            Ok(_) => return Ok(true),
            Err(Error::BlobUnknown(_)) => {}
            Err(error) => return Err(failed(error)),
        }
        let elsewhere = self.operations.repositories_with_blob(digest).await;
        for from in elsewhere.map_err(failed)? {
            let mounted = self.operations.mount_blob(&from, &pair.to, digest).await;
            if mounted.map_err(failed)? {
                return Ok(true);
            }
        }
        let mut last = String::new();
        for _ in 0..BLOB_ATTEMPTS {
            let Some(bytes) = self.source.blob(&pair.from, digest).await? else {
                return Ok(false);
            };
            match self.operations.push_blob(&pair.to, *digest, bytes).await {
                Ok(()) => {
                    add(&self.counters.blobs, 1);
                    let stored = self.operations.blob(&pair.to, digest).await;
                    add(&self.counters.bytes, stored.map_or(0, |blob| blob.size));
                    return Ok(true);
                }
                // The connection broke, or its end came early: once more.
                Err(error @ (Error::ClientGone(_) | Error::DigestMismatch { .. })) => {
                    last = format!("blob {digest}: {}", chain(&error));
                }
                Err(error) => return Err(failed(error)),
            }
        }
        Err(last)
    }

    fn wants_repository(&self, repository: &str) -> bool {
        let with_any_tag = format!("{repository}:");
        let only = self.only.is_empty()
            || self.only.iter().any(|only| {
                only.is_match(repository)
                    || only.as_str().contains(':')
                    || only.is_match(&with_any_tag)
            });
        only && !self.except.iter().any(|except| except.is_match(repository))
    }

    fn wants(&self, repository: &RepositoryName, reference: &Reference) -> bool {
        let whole = match reference {
            Reference::Tag(tag) => format!("{repository}:{tag}"),
            Reference::Digest(digest) => format!("{repository}@{digest}"),
        };
        let matches = |patterns: &[Regex]| {
            patterns
                .iter()
                .any(|one| one.is_match(&whole) || one.is_match(repository.as_str()))
        };
        (self.only.is_empty() || matches(&self.only)) && !matches(&self.except)
    }

    fn totals(&self) -> Totals {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        Totals {
            repositories: get(&counters.repositories),
            tags: get(&counters.tags),
            present: get(&counters.present),
            manifests: get(&counters.manifests),
            blobs: get(&counters.blobs),
            bytes: get(&counters.bytes),
            failed: get(&counters.failed),
        }
    }

    async fn failed(&self, pair: &Pair, reference: &str, why: Failure) {
        add(&self.counters.failed, 1);
        tracing::warn!(repository = %pair.to, reference, why, "an import failed");
        self.say(What::Failed, pair.to.as_str(), reference, why)
            .await;
    }

    async fn say(&self, what: What, repository: &str, reference: &str, detail: String) {
        let event = Event {
            what,
            repository: repository.to_owned(),
            reference: reference.to_owned(),
            detail,
            totals: self.totals(),
        };
        // Whoever is gone does not miss it.
        let _ = self.events.send(event).await;
    }
}

fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

/// A pattern in which `*` stands for any text.
fn pattern(text: &str) -> Result<Regex, Failure> {
    let parts: Vec<String> = text.split('*').map(regex::escape).collect();
    Regex::new(&format!("^{}$", parts.join(".*"))).map_err(|error| format!("{text}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (text, name, matches) in [
            ("team/*", "team/app", true),
            ("team/*", "teams/app", false),
            ("team/app:v*", "team/app:v1", true),
            ("*", "anything", true),
            ("a.b", "a-b", false),
            ("a", "ab", false),
            ("", "a", false),
        ] {
            assert_eq!(
                pattern(text).unwrap().is_match(name),
                matches,
                "{text} {name}"
            );
        }
    }
}
