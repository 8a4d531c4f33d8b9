//! `/api/v1/gc`: what the collector does, on demand and at present, and why something is kept.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use holdfast_metadata::{Collected, Hold, Kind, UntaggedPolicy};
use holdfast_model::{Digest, RepositoryName};
use http::Response;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::lines::{self, Gone, Lines};
use super::time;
use crate::app::App;
use crate::clock;
use crate::error_chain::chain;
use crate::http::body::Body;
use crate::http::error::Error;
use crate::operations::{self, Operations, Round};

/// Days of history that the status shows.
const HISTORY: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Repositories or manifests read at a time.
const PAGE: usize = 1000;
/// Things taken away that may wait for the client.
const WAITING_MAX: usize = 256;

/// `GET /gc`
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct GcStatus {
    /// How long what lost its last use is kept, in seconds.
    pub(crate) grace_seconds: f64,
    /// What waits at each step, in the order things go through them.
    pub(crate) queues: Vec<Queue>,
    /// What was done on each of the last days, by the date in UTC.
    pub(crate) days: BTreeMap<String, Day>,
}

/// What waits at one step.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Queue {
    /// The step: manifests, links, leases, blobs, objects.
    pub(crate) name: String,
    /// How many wait, those not yet due included; at most 100,000 are counted.
    pub(crate) waiting: u64,
    /// When the first becomes due, or did.
    pub(crate) first_due: Option<String>,
}

/// What was done on one day.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Day {
    /// Manifests deleted.
    pub(crate) manifests: u64,
    /// Links removed.
    pub(crate) links: u64,
    /// Blobs given up.
    pub(crate) blobs: u64,
    /// Objects deleted.
    pub(crate) objects: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
}

pub(super) async fn status(app: &Arc<App>) -> Result<GcStatus, Error> {
    let metadata = app.operations.metadata();
    let status = metadata
        .gc_status()
        .await
        .map_err(operations::Error::from)?;
    let history = metadata
        .gc_history(clock::now().minus(HISTORY))
        .await
        .map_err(operations::Error::from)?;
    let mut days: BTreeMap<String, Day> = BTreeMap::new();
    for one in history {
        let date = time(one.start).chars().take(10).collect();
        let day = days.entry(date).or_default();
        match one.kind {
            Kind::Manifests => day.manifests = one.items,
            Kind::Links => day.links = one.items,
            Kind::Blobs => day.blobs = one.items,
            Kind::Objects => (day.objects, day.bytes) = (one.items, one.bytes),
        }
    }
    let queues = status.queues.iter().map(|queue| Queue {
        name: queue.name.to_owned(),
        waiting: queue.waiting,
        first_due: queue.first_due.map(time),
    });
    Ok(GcStatus {
        grace_seconds: metadata.grace().as_secs_f64(),
        queues: queues.collect(),
        days,
    })
}

/// `POST /gc/run`
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RunGc {
    /// Only say what would be taken away.
    pub(crate) dry_run: bool,
    /// Also delete manifests without a tag, a parent and a subject.
    pub(crate) delete_untagged: bool,
    /// How long what lost its last use is kept, in seconds; the configured grace at most, and if absent.
    pub(crate) grace_seconds: Option<f64>,
    /// No server runs here. Unless other nodes share the database, nobody can be in the middle of a push then, and
    /// without `grace_seconds` nothing is kept for one.
    pub(crate) offline: bool,
    /// Also say what stays.
    pub(crate) marks: bool,
}

/// An event of `POST /gc/run`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum GcEvent {
    /// A repository whose content follows.
    Repository {
        /// Its name.
        repository: RepositoryName,
    },
    /// A manifest that stays, with its blobs.
    Kept {
        /// Where.
        repository: RepositoryName,
        /// Which.
        digest: Digest,
        /// What it needs.
        blobs: Vec<Digest>,
    },
    /// A manifest that is deleted.
    Manifest {
        /// Where.
        repository: RepositoryName,
        /// Which.
        digest: Digest,
        /// Why: parent_gone, subject_gone, subject_absent, untagged.
        reason: String,
    },
    /// A link that is removed.
    Link {
        /// Where.
        repository: RepositoryName,
        /// To which blob.
        digest: Digest,
    },
    /// A blob whose bytes are deleted.
    Blob {
        /// Which.
        digest: Digest,
        /// How many bytes it has.
        size: u64,
    },
    /// The end.
    Done {
        /// Objects that were deleted.
        objects: u64,
        /// Their bytes.
        bytes: u64,
        /// Objects that could not be deleted now.
        failed: u64,
        /// Whether everything due was looked at: a dry run has a limit.
        complete: bool,
    },
}

impl From<Collected> for GcEvent {
    fn from(collected: Collected) -> GcEvent {
        match collected {
            Collected::Manifest {
                repository,
                digest,
                reason,
            } => GcEvent::Manifest {
                repository,
                digest,
                reason: reason.name().to_owned(),
            },
            Collected::Link { repository, digest } => GcEvent::Link { repository, digest },
            Collected::Blob { digest, size } => GcEvent::Blob { digest, size },
        }
    }
}

pub(super) fn run(app: &Arc<App>, wish: RunGc) -> Response<Body> {
    let operations = app.operations.clone();
    lines::answer(|lines| async move {
        match collect(&operations, &wish, &lines).await {
            Ok(()) | Err(Stop::Gone) => Ok(()),
            Err(Stop::Failed(error)) => Err(chain(&error)),
        }
    })
}

enum Stop {
    Gone,
    Failed(operations::Error),
}

impl From<Gone> for Stop {
    fn from(_: Gone) -> Stop {
        Stop::Gone
    }
}

impl<E: Into<operations::Error>> From<E> for Stop {
    fn from(error: E) -> Stop {
        Stop::Failed(error.into())
    }
}

async fn collect(operations: &Operations, wish: &RunGc, lines: &Lines) -> Result<(), Stop> {
    let configured = operations.metadata().grace();
    let grace = wish
        .grace_seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .map(|grace| grace.min(configured));
    let ends_hold = grace.is_some();
    let alone = wish.offline && !operations.metadata().is_shared();
    let grace = grace.unwrap_or(if alone { Duration::ZERO } else { configured });
    let mut round = Round {
        grace,
        ends_hold,
        policy: UntaggedPolicy::default(),
        // Whoever asks does not want to wait.
        rate: 0,
        listener: None,
    };
    if wish.delete_untagged {
        round.policy.delete_after = Some(Duration::ZERO);
    }
    if wish.dry_run {
        let (collected, complete) = operations
            .rehearse_collection(&round, wish.delete_untagged)
            .await?;
        if wish.marks {
            let manifests: HashSet<_> = collected
                .iter()
                .filter_map(|one| match one {
                    Collected::Manifest {
                        repository, digest, ..
                    } => Some((repository, digest)),
                    _ => None,
                })
                .collect();
            let gone = |repository: &RepositoryName, digest: &Digest| {
                manifests.contains(&(repository, digest))
            };
            mark(operations, lines, gone).await?;
        }
        for one in collected {
            lines.send(&GcEvent::from(one)).await?;
        }
        let done = GcEvent::Done {
            objects: 0,
            bytes: 0,
            failed: 0,
            complete,
        };
        return Ok(lines.send(&done).await?);
    }
    if wish.delete_untagged {
        operations.queue_untagged(grace, Duration::ZERO).await?;
    }
    let (sender, mut receiver) = mpsc::channel(WAITING_MAX);
    round.listener = Some(sender);
    let collecting = operations.clone();
    let collecting = tokio::spawn(async move { collecting.collect(&round).await });
    while let Some(one) = receiver.recv().await {
        lines.send(&GcEvent::from(one)).await?;
    }
    let reclaimed = match collecting.await {
        Ok(reclaimed) => reclaimed?,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    };
    if wish.marks {
        mark(operations, lines, |_, _| false).await?;
    }
    let done = GcEvent::Done {
        objects: reclaimed.objects,
        bytes: reclaimed.bytes,
        failed: reclaimed.failed,
        complete: true,
    };
    Ok(lines.send(&done).await?)
}

/// Says what stays: every repository, its manifests and their blobs.
async fn mark(
    operations: &Operations,
    lines: &Lines,
    gone: impl Fn(&RepositoryName, &Digest) -> bool,
) -> Result<(), Stop> {
    let metadata = operations.metadata();
    let mut last: Option<String> = None;
    loop {
        let names = metadata.repositories(last.as_deref(), PAGE).await?;
        let Some(name) = names.last() else {
            return Ok(());
        };
        last = Some(name.clone());
        for name in names {
            let Ok(repository) = name.parse::<RepositoryName>() else {
                continue;
            };
            let event = GcEvent::Repository {
                repository: repository.clone(),
            };
            lines.send(&event).await?;
            let mut after = None;
            loop {
                let page = metadata
                    .manifests_after(&repository, after.as_ref(), PAGE)
                    .await?;
                let Some(found) = page.last() else { break };
                after = Some(found.manifest);
                for found in page {
                    if gone(&repository, &found.manifest) {
                        continue;
                    }
                    let event = GcEvent::Kept {
                        repository: repository.clone(),
                        digest: found.manifest,
                        blobs: found.blobs,
                    };
                    lines.send(&event).await?;
                }
            }
        }
    }
}

/// `GET /gc/why?repository=…&digest=…`
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Why {
    /// The manifest of this digest is in the repository.
    pub(crate) manifest: bool,
    /// The blob of this digest is in the repository.
    pub(crate) blob: bool,
    /// What keeps them, a sentence each; at most ten of a kind.
    pub(crate) reasons: Vec<String>,
}

pub(super) async fn why(
    app: &Arc<App>,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<Why, Error> {
    let why = app
        .operations
        .metadata()
        .gc_why(repository, digest)
        .await
        .map_err(operations::Error::from)?;
    let reasons = why.holds.iter().map(|hold| match hold {
        Hold::Tag(tag) => format!("the tag {tag} points at the manifest"),
        Hold::Parent(parent) => format!("the index {parent} names the manifest"),
        Hold::Subject(subject) => format!("the manifest is about {subject}, which is there"),
        Hold::Unasked => {
            "the manifest has no tag, and nothing asks for its deletion (gc.deleteuntaggedafter)".to_owned()
        }
        Hold::Queued { due_at, reason } => format!(
            "the manifest is looked at again at {} because {reason}, and deleted unless something holds it then",
            time(*due_at)
        ),
        Hold::Trash(until) => {
            format!("the manifest was deleted and can be restored until {}", time(*until))
        }
        Hold::Manifest(manifest) => format!("the manifest {manifest} needs the blob"),
        Hold::Lease(until) => format!(
            "no manifest of the repository needs the blob; a push may be about to, so it stays until {}",
            time(*until)
        ),
        Hold::Repository(name) => {
            format!("the repository {name} has the blob too, so its bytes stay")
        }
    });
    Ok(Why {
        manifest: why.manifest,
        blob: why.blob,
        reasons: reasons.collect(),
    })
}
