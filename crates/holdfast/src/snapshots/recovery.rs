//! Bringing back a database that is gone, damaged, or a copy that cannot be believed.
//!
//! A copy of a running server's files has a database that may be torn, without any sign of it: it is told by
//! being another file than the one its redo log was written for. So is a copy of a stopped server's, for which
//! this is a detour to the same state.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use flate2::write::GzDecoder;
use holdfast_metadata::recovery::{self, Database, Rebuilt};
use holdfast_model::{Algorithm, Hasher};
use holdfast_storage::{BlobStore, Listed, StorageKey};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::{Snapshot, list};
use crate::clock;
use crate::error_chain::{attempt, chain};
use crate::operations::is_another_registrys;

/// Chunks that may wait to be decompressed.
const CHUNKS_WAITING: usize = 4;

/// The name of a database that was put together and is not in place yet.
const READY: &str = "recovered";

/// What there is to recover from.
pub(crate) struct Place<'a> {
    /// The blob store.
    pub(crate) store: &'a dyn BlobStore,
    /// The database.
    pub(crate) database: &'a Path,
    /// The redo logs.
    pub(crate) logs: &'a Path,
}

/// Looks at the database before it is opened, and puts it together anew where that is needed.
pub(crate) async fn recover(place: &Place<'_>, accept_empty: bool) -> Result<(), String> {
    // A start before this one had put it together, and was cut short while putting it in place.
    let ready = beside(place.database, READY);
    if ready.exists() {
        replace(place.database, &ready)
            .map_err(|error| attempt("cannot put the recovered metadata in place", &error))?;
    }
    let found = recovery::inspect(place.database, place.logs)
        .map_err(|error| attempt("cannot look at the metadata database", &error))?;
    match found {
        Database::Usable => Ok(()),
        Database::Absent => {
            tracing::debug!("there is no metadata database");
            if rebuild(place, Reach::Any).await? || !needs_database(place.store).await? {
                return Ok(());
            }
            if accept_empty {
                tracing::warn!("starting with empty metadata over stored blobs, as asked");
                return Ok(());
            }
            Err(format!(
                "the metadata database {} is gone, and there is no snapshot of it, but blobs are stored. \
                 Restore the directory from a backup, or start once with --accept-empty: then every \
                 repository is empty, and blobs are stored again as they are pushed",
                place.database.display()
            ))
        }
        Database::Copied => {
            tracing::info!(
                "this is a copy of a registry's data; its metadata is put together from the snapshots"
            );
            if rebuild(place, Reach::Any).await? {
                return Ok(());
            }
            accept_copy(place).await
        }
        Database::Overwritten => {
            tracing::warn!(
                "the metadata database is not the one that its log belongs to; it is put together from the snapshots"
            );
            if rebuild(place, Reach::Whole).await? {
                return Ok(());
            }
            accept_copy(place).await
        }
        Database::Damaged => {
            // What was damaged may have been a copy.
            let Err(damage) = checked(place).await? else {
                return forget_damage(place);
            };
            tracing::error!(
                error = chain(&damage),
                "the metadata database is damaged; it is put together from the snapshots"
            );
            match rebuild(place, Reach::Whole).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) => tracing::error!("{error}"),
            }
            tracing::error!(
                "no snapshot with the changes after it reaches to the last change, so the damaged database is used as it \
                 is. Restore a backup, or move metadata.db away to have what can be put together"
            );
            Ok(())
        }
    }
}

/// Takes a copy that there is no snapshot for, if it is sound.
async fn accept_copy(place: &Place<'_>) -> Result<(), String> {
    checked(place).await?.map_err(|error| {
        attempt(
            "the data is a copy without a whole snapshot, and its database",
            &error,
        )
    })?;
    tracing::warn!(
        "there is no whole snapshot: the database is taken as it was copied, and may lack what was pushed \
         while the copy was made"
    );
    forget_damage(place)
}

/// What is wrong with the database.
async fn checked(place: &Place<'_>) -> Result<holdfast_metadata::Result<()>, String> {
    let database = place.database.to_owned();
    spawn_blocking(move || recovery::check(&database))
        .await
        .map_err(|error| format!("checking the database panicked: {error}"))
}

/// Takes away the mark of a database that is no longer damaged.
fn forget_damage(place: &Place<'_>) -> Result<(), String> {
    match fs::remove_file(recovery::mark(place.database)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(attempt(
            "cannot take away the mark of a damaged database",
            &error,
        )),
        _ => Ok(()),
    }
}

/// The same for a database that cannot be opened; whether it could be replaced.
pub(crate) async fn recover_damaged(place: &Place<'_>) -> Result<bool, String> {
    tracing::error!("the metadata database is damaged; it is put together from the snapshots");
    rebuild(place, Reach::Any).await
}

/// How far what is put together must reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// As far as it goes: there is nothing better.
    Any,
    /// To the last change that is known of.
    Whole,
}

/// Puts the database together from the newest snapshot that is whole; false when there is none.
async fn rebuild(place: &Place<'_>, reach: Reach) -> Result<bool, String> {
    let snapshots = match list::read(place.store).await {
        Ok(snapshots) => snapshots,
        Err(error) => return Err(attempt("cannot read the list of snapshots", &error)),
    };
    for snapshot in snapshots.into_iter().rev() {
        match rebuild_from(place, &snapshot, reach).await {
            Ok(rebuilt) => {
                tracing::info!(
                    snapshot = snapshot.number,
                    taken_at = snapshot.taken_at.as_micros(),
                    logs = rebuilt.logs,
                    transactions = rebuilt.transactions,
                    ignored_bytes = rebuilt.ignored_bytes,
                    "put the metadata together from a snapshot and what was committed after it"
                );
                return Ok(true);
            }
            Err(error) => tracing::warn!(
                snapshot = snapshot.number,
                error,
                "a snapshot of the metadata is of no use"
            ),
        }
    }
    Ok(false)
}

async fn rebuild_from(
    place: &Place<'_>,
    snapshot: &Snapshot,
    reach: Reach,
) -> Result<Rebuilt, String> {
    let made = beside(place.database, "unfinished");
    fetch(place.store, snapshot, &made).await?;
    let (logs, database, number) = (
        place.logs.to_owned(),
        place.database.to_owned(),
        snapshot.number,
    );
    spawn_blocking(move || {
        let rebuilt =
            recovery::rebuild(&made, number, &logs, &database).map_err(|error| chain(&error))?;
        if reach == Reach::Whole && !rebuilt.whole {
            return Err("the changes after it are not all there".to_owned());
        }
        // From here on it counts, since putting it in place takes more than one step.
        let ready = beside(&database, READY);
        fs::rename(&made, &ready)
            .and_then(|()| replace(&database, &ready))
            .map_err(|error| error.to_string())?;
        Ok(rebuilt)
    })
    .await
    .map_err(|error| format!("recovery panicked: {error}"))?
}

/// Writes a snapshot out, and refuses one whose bytes are not those that the list says.
pub(crate) async fn fetch(
    store: &dyn BlobStore,
    snapshot: &Snapshot,
    path: &Path,
) -> Result<(), String> {
    let (sender, receiver) = mpsc::channel(CHUNKS_WAITING);
    let target = path.to_owned();
    let writing = spawn_blocking(move || decompress(receiver, &target));
    let reader = store
        .open(&snapshot.key())
        .await
        .map_err(|error| chain(&error))?;
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut offset = 0;
    while offset < reader.size() {
        let chunk = reader
            .read_at(offset, usize::MAX)
            .await
            .map_err(|error| chain(&error))?;
        offset += chunk.len() as u64;
        hasher.update(&chunk);
        if sender.send(chunk).await.is_err() {
            break;
        }
    }
    drop(sender);
    writing
        .await
        .map_err(|error| format!("decompression panicked: {error}"))?
        .map_err(|error| error.to_string())?;
    let digest = hasher.finish();
    if digest != snapshot.digest {
        return Err(format!("its digest is {digest}, not {}", snapshot.digest));
    }
    Ok(())
}

fn decompress(mut chunks: mpsc::Receiver<Bytes>, path: &Path) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    let mut decoder = GzDecoder::new(file);
    while let Some(chunk) = chunks.blocking_recv() {
        decoder.write_all(&chunk)?;
    }
    decoder.finish()?.sync_all()
}

/// Puts a new database in place. What was there is kept under another name, for people.
fn replace(database: &Path, made: &Path) -> io::Result<()> {
    let aside = beside(database, &format!("set-aside-{}", clock::now().as_micros()));
    for suffix in ["", "-wal", "-shm"] {
        let with = |path: &Path| PathBuf::from(format!("{}{suffix}", path.display()));
        let old = with(database);
        let empty = fs::metadata(&old).is_ok_and(|found| found.len() == 0);
        let moved = match empty || suffix == "-shm" {
            true => fs::remove_file(&old),
            false => fs::rename(&old, with(&aside)),
        };
        match moved {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::rename(made, database)?;
    match fs::remove_file(recovery::mark(database)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let directory = database.parent().unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

/// Whether blobs are stored that no metadata speaks for but a database: Holdfast stored them, or nobody links them.
/// The tree of another registry that was never taken over speaks for its own.
pub(crate) async fn needs_database(store: &dyn BlobStore) -> Result<bool, String> {
    let any = async |directory: StorageKey| -> Result<bool, holdfast_storage::Error> {
        let mut listing = store.list(&directory).await?;
        loop {
            let entries = listing.next().await?;
            if entries.is_empty() {
                return Ok(false);
            }
            if entries
                .iter()
                .any(|entry| matches!(entry, Listed::Object { .. }))
            {
                return Ok(true);
            }
        }
    };
    let found = async {
        Ok(any(StorageKey::uploads()).await?
            || (any(StorageKey::blobs()).await? && !is_another_registrys(store).await?))
    };
    let found: Result<bool, holdfast_storage::Error> = found.await;
    found.map_err(|error| attempt("cannot look for stored blobs", &error))
}
