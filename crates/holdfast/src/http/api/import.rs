//! `/api/v1/import`: taking over the tree of another registry that the storage holds, and images from elsewhere.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use holdfast_metadata::{AdoptionWalk, Problem, Severity, Stage};
use holdfast_model::{RepositoryName, Tag};
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
use crate::import::{Archive, Connection, Copying, Import, NamedImage, RegistrySource, Source};
use crate::operations;

/// How often a line says how far the work is.
const LINE_EVERY: Duration = Duration::from_millis(500);

/// How far the walk over the tree is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ImportStatus {
    /// What it does: `names`, `blobs`, `repositories`, `settling`; `done`; `none` when there was no tree.
    pub(crate) stage: String,
    /// Repositories found.
    pub(crate) repositories: u64,
    /// Repositories that are done.
    pub(crate) repositories_done: u64,
    /// Blobs taken over.
    pub(crate) blobs: u64,
    /// Their bytes.
    pub(crate) blob_bytes: u64,
    /// Links of repositories to blobs.
    pub(crate) links: u64,
    /// Manifests.
    pub(crate) manifests: u64,
    /// Tags.
    pub(crate) tags: u64,
    /// Entries of the report.
    pub(crate) problems: u64,
    /// When the walk began (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) started_at: Option<String>,
    /// When it was over (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) done_at: Option<String>,
    /// Until when garbage collection waits (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) collection_waits_until: Option<String>,
}

/// Something that is not as it should be in the tree.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ImportProblem {
    /// What is wrong, in one word.
    pub(crate) kind: String,
    /// Whether something that was pushed cannot be pulled.
    pub(crate) harm: bool,
    /// The repository; empty when it is of none.
    pub(crate) repository: String,
    /// Some of the tags concerned.
    pub(crate) tags: Vec<String>,
    /// The content concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) digest: Option<String>,
    /// The manifest that needs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) manifest: Option<String>,
    /// Where it is.
    pub(crate) place: String,
    /// What there is to say beyond that.
    pub(crate) detail: String,
    /// When it was found (RFC 3339).
    pub(crate) found_at: String,
}

/// What is to be walked.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ImportTree {
    /// Once more, when that was done before.
    pub(crate) rescan: bool,
    /// Every blob is read and compared with its digest.
    pub(crate) verify: bool,
}

fn name(stage: Stage) -> &'static str {
    match stage {
        Stage::Names => "names",
        Stage::Blobs => "blobs",
        Stage::Repositories => "repositories",
        Stage::Settling => "settling",
        Stage::Done => "done",
    }
}

/// `GET /import`: how far it is.
pub(super) async fn status(app: &Arc<App>) -> Result<ImportStatus, Error> {
    let walk = app.operations.metadata().adoption_walk().await;
    let walk = walk.map_err(operations::Error::from)?;
    Ok(status_of(app, walk))
}

fn status_of(app: &Arc<App>, walk: Option<AdoptionWalk>) -> ImportStatus {
    let progress = app.operations.adoption_progress();
    let stage = match &walk {
        None => "none",
        Some(walk) => name(walk.stage),
    };
    let walk = walk.as_ref();
    let times =
        |get: fn(&AdoptionWalk) -> Option<holdfast_model::Timestamp>| walk.and_then(get).map(time);
    ImportStatus {
        stage: stage.to_owned(),
        repositories: progress.repositories,
        repositories_done: progress.repositories_done,
        blobs: progress.counts.blobs,
        blob_bytes: progress.counts.blob_bytes,
        links: progress.counts.links,
        manifests: progress.counts.manifests,
        tags: progress.counts.tags,
        problems: progress.problems,
        started_at: times(|walk| Some(walk.started_at)),
        done_at: times(|walk| walk.done_at),
        collection_waits_until: times(|walk| {
            let until = walk.hold_until.filter(|until| *until > clock::now());
            until.filter(|_| !walk.is_unread())
        }),
    }
}

/// `POST /import/tree`: sees the walk to its end, with a line now and then.
pub(super) fn walk(app: &Arc<App>, wish: ImportTree) -> Response<Body> {
    let app = Arc::clone(app);
    lines::answer(|lines| async move {
        let operations = app.operations.clone();
        if wish.rescan {
            let begun = operations.adopt_again(wish.verify).await;
            begun.map_err(|error| chain(&error))?;
        } else if wish.verify {
            let begun = operations.adopt_with_verification().await;
            begun.map_err(|error| chain(&error))?;
        }
        let mut work = tokio::spawn(async move { operations.walk_adoption().await });
        loop {
            let outcome = tokio::select! {
                done = &mut work => Some(done),
                () = tokio::time::sleep(LINE_EVERY) => None,
            };
            let walk = app.operations.metadata().adoption_walk().await;
            let walk = walk.map_err(|error| chain(&error))?;
            let sent = lines.send(&status_of(&app, walk)).await;
            match outcome {
                Some(Ok(done)) => return done.map_err(|error| chain(&error)),
                Some(Err(panicked)) => return Err(panicked.to_string()),
                // The walk goes on without its audience.
                None if matches!(sent, Err(Gone)) => return Ok(()),
                None => {}
            }
        }
    })
}

/// `GET /import/problems`: a line for each entry of the report.
pub(super) fn problems(app: &Arc<App>) -> Response<Body> {
    /// Entries read at a time.
    const PAGE: usize = 500;
    let metadata = app.operations.metadata().clone();
    lines::answer(|lines| async move {
        let mut after: Option<Problem> = None;
        loop {
            let page = metadata.problems(after.as_ref(), PAGE).await;
            let page = page.map_err(|error| chain(&error))?;
            let Some((last, _)) = page.last() else {
                return Ok(());
            };
            after = Some(last.clone());
            for (problem, tags) in page {
                let line = ImportProblem {
                    kind: problem.kind.name().to_owned(),
                    harm: problem.kind.severity() == Severity::Harm,
                    repository: problem.repository,
                    tags,
                    digest: problem.digest.map(|digest| digest.to_string()),
                    manifest: problem.manifest.map(|digest| digest.to_string()),
                    place: problem.place,
                    detail: problem.detail,
                    found_at: time(problem.found_at),
                };
                if let Err(Gone) = lines.send(&line).await {
                    return Ok(());
                }
            }
        }
    })
}

/// What is to be imported from another registry.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ImportRegistry {
    /// How to reach it.
    pub(crate) from: Connection,
    /// What of it.
    pub(crate) import: Import,
}

/// What is to be imported from files that the server can read.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ImportFiles {
    /// A directory with an image layout, or an archive; an absolute path.
    pub(crate) path: PathBuf,
    /// What the images are to be called, whatever the files say.
    #[serde(default)]
    pub(crate) repository: Option<RepositoryName>,
    /// Their tag.
    #[serde(default)]
    pub(crate) tag: Option<Tag>,
    /// What of it.
    #[serde(default)]
    pub(crate) import: Import,
}

/// `POST /import/registry`: a line for each tag.
pub(super) fn registry(app: &Arc<App>, wish: ImportRegistry) -> Response<Body> {
    tracing::info!(
        host = wish.from.host,
        dry_run = wish.import.dry_run,
        "importing from a registry"
    );
    let app = Arc::clone(app);
    lines::answer(|lines| async move {
        let source = Arc::new(RegistrySource::new(&wish.from)?);
        copied(&app, source, wish.import, lines).await
    })
}

/// `POST /import/files`: a line for each tag.
pub(super) fn files(app: &Arc<App>, wish: ImportFiles) -> Response<Body> {
    tracing::info!(path = %wish.path.display(), dry_run = wish.import.dry_run, "importing from files");
    let app = Arc::clone(app);
    lines::answer(|lines| async move {
        if !wish.path.is_absolute() {
            return Err("the path is not absolute".to_owned());
        }
        let tag = wish.tag;
        let wanted = wish
            .repository
            .map(|repository| NamedImage { repository, tag });
        let source = Arc::new(Archive::open(wish.path, wanted).await?);
        copied(&app, source, wish.import, lines).await
    })
}

/// Imports, and passes on what happens.
async fn copied(
    app: &Arc<App>,
    source: Arc<dyn Source>,
    import: Import,
    lines: Lines,
) -> Result<(), String> {
    /// Events that may wait for the lines.
    const WAITING_MAX: usize = 64;
    let (events, mut happened) = mpsc::channel(WAITING_MAX);
    let copying = Copying::new(app.operations.clone(), source, import, events)?;
    // What was begun is brought to its end, as a push is, though nobody follows.
    let work = app.writes.spawn(async move { copying.run().await });
    while let Some(event) = happened.recv().await {
        if let Err(Gone) = lines.send(&event).await {
            break;
        }
    }
    drop(happened);
    let totals = work.await.map_err(|panicked| panicked.to_string())??;
    tracing::info!(
        repositories = totals.repositories,
        tags = totals.tags,
        present = totals.present,
        manifests = totals.manifests,
        blobs = totals.blobs,
        bytes = totals.bytes,
        failed = totals.failed,
        "an import is done"
    );
    Ok(())
}
