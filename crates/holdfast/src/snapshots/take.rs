//! Taking a snapshot.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzEncoder;
use holdfast_metadata::{Pinned, recovery};
use holdfast_model::{Algorithm, UploadId};
use holdfast_storage::StorageKey;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::{Error, Snapshot, Snapshots, list};
use crate::{clock, random};

/// Compressed bytes that go to the store at a time.
const CHUNK_BYTES: usize = 256 * 1024;
/// Chunks that may wait for the store.
const CHUNKS_WAITING: usize = 4;
/// A redo log is followed by a snapshot once it is this long, and as long as the database.
const LOG_BYTES: u64 = 64 * 1024 * 1024;

impl Snapshots {
    /// Whether it is time for another.
    pub(crate) fn due(&self, interval: Duration) -> bool {
        let redo = self.0.metadata.redo();
        if redo.incomplete || redo.unverified {
            return true;
        }
        let long = LOG_BYTES.max(self.0.database_bytes.load(Ordering::Relaxed));
        let changed = redo.commits != self.0.commits.load(Ordering::Relaxed);
        let old = self
            .taken_at()
            .is_none_or(|taken_at| clock::now() >= taken_at.plus(interval));
        redo.bytes > long || (changed && old)
    }

    /// Takes the first snapshot of a database, or of one that others changed; to be called before the first
    /// request, so that there is no moment without one. Otherwise reads what there is.
    pub(crate) async fn begin(&self) -> Result<(), Error> {
        if self.0.metadata.redo().incomplete {
            return self.take().await.map(drop);
        }
        if let Some(newest) = list::read(&*self.0.store).await?.last() {
            // What the process before has changed since is not known.
            self.note(newest, u64::MAX);
        }
        Ok(())
    }

    /// Takes a snapshot, and deletes those that are too many with their logs.
    pub(crate) async fn take(&self) -> Result<Snapshot, Error> {
        let inner = &self.0;
        let _one_at_a_time = inner.taking.lock().await;
        let mut snapshots = match list::read(&*inner.store).await {
            Ok(snapshots) => snapshots,
            // Whatever it named can still be found by people; a new list is worth more than none.
            Err(Error::List(error)) => {
                tracing::warn!(%error, "the list of snapshots is damaged and is written anew");
                Vec::new()
            }
            Err(error) => return Err(error),
        };
        let logs = recovery::log_numbers(&inner.directory)?;
        let newest = snapshots.last().map(|snapshot| snapshot.number);
        let number = newest.max(logs.last().copied()).unwrap_or(0) + 1;
        let commits = inner.metadata.redo().commits;
        let taken_at = clock::now();
        let view = inner.metadata.begin_snapshot(number).await?;
        let copy = inner.directory.join("unfinished.db");
        let outcome = self.store(number, view, copy.clone()).await;
        let _ = fs::remove_file(copy);
        let (digest, bytes, database_bytes) = outcome?;
        let snapshot = Snapshot {
            number,
            taken_at,
            digest,
            bytes,
            database_bytes,
        };
        snapshots.push(snapshot.clone());
        let surplus = snapshots.len().saturating_sub(inner.keep);
        let old: Vec<_> = snapshots.drain(..surplus).collect();
        list::write(&*inner.store, &snapshots).await?;
        inner.metadata.end_snapshot(number);
        let keys: Vec<_> = old.iter().map(Snapshot::key).collect();
        inner.store.delete(&keys).await?;
        let oldest = snapshots.first().map_or(number, |oldest| oldest.number);
        for log in logs.into_iter().filter(|log| *log < oldest) {
            fs::remove_file(recovery::log_path(&inner.directory, log))?;
        }
        self.note(&snapshot, commits);
        tracing::info!(
            number,
            bytes,
            database_bytes,
            "took a snapshot of the metadata"
        );
        Ok(snapshot)
    }

    /// Copies the database and sends it to the store, compressed.
    async fn store(
        &self,
        number: u64,
        view: Pinned,
        copy: PathBuf,
    ) -> Result<(holdfast_model::Digest, u64, u64), Error> {
        let (sender, mut receiver) = mpsc::channel(CHUNKS_WAITING);
        let metadata = self.0.metadata.clone();
        let compressing = spawn_blocking(move || -> Result<u64, Error> {
            // What a snapshot that was cut short left.
            let _ = fs::remove_file(&copy);
            view.copy_to(&copy)?;
            // The database's log may start over again while the copy is compressed.
            drop(view);
            // A snapshot of a damaged database would in time push out the good ones.
            let checked = recovery::check(&copy);
            if matches!(checked, Err(holdfast_metadata::Error::Corrupt(_))) {
                metadata.note_damage();
            }
            checked?;
            let bytes = fs::metadata(&copy)?.len();
            compress(&copy, &sender)?;
            Ok(bytes)
        });
        let store = &*self.0.store;
        let id = UploadId::from_random(random::bytes());
        store.begin_upload(id).await?;
        let sent: Result<_, Error> = async {
            let mut writer = store.resume_upload(id, None, Algorithm::Sha256).await?;
            while let Some(chunk) = receiver.recv().await {
                writer.write(chunk).await?;
            }
            let database_bytes = compressing
                .await
                .map_err(|error| io::Error::other(error.to_string()))??;
            let (digest, bytes) = (writer.digest(Algorithm::Sha256).await?, writer.offset());
            writer.commit(&StorageKey::snapshot(number)).await?;
            Ok((digest, bytes, database_bytes))
        }
        .await;
        // Nobody else knows of this upload. A bucket still has the object that the snapshot was copied from.
        if let Err(error) = store.abort_upload(id).await {
            tracing::warn!(%error, "what the making of a snapshot has left behind stays until `holdfast check --repair`");
        }
        sent
    }
}

/// Sends the compressed file until its end, or until nobody takes it.
fn compress(path: &Path, sender: &mpsc::Sender<Bytes>) -> io::Result<()> {
    let mut encoder = GzEncoder::new(
        io::BufReader::with_capacity(CHUNK_BYTES, File::open(path)?),
        Compression::fast(),
    );
    loop {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        encoder
            .by_ref()
            .take(CHUNK_BYTES as u64)
            .read_to_end(&mut chunk)?;
        if chunk.is_empty() || sender.blocking_send(chunk.into()).is_err() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use holdfast_metadata::{LinkBlob, Location, Metadata, Moment, Options};
    use holdfast_model::Hasher;
    use holdfast_storage::Memory;

    use super::*;

    /// What the collector asks of the database every few seconds is no change.
    #[tokio::test]
    async fn an_idle_registry_needs_no_snapshot() {
        let directory = tempfile::tempdir().unwrap();
        let logs = directory.path().join("snapshots");
        fs::create_dir(&logs).unwrap();
        let file = directory.path().join("metadata.db");
        let mut options = Options::new(Location::File(file), 1);
        options.redo = Some(logs.clone());
        let metadata = Metadata::open(options, clock::now()).await.unwrap();
        let store = Memory::new();
        let snapshots = Snapshots::new(metadata.clone(), store.clone(), logs.clone(), 3);
        snapshots.begin().await.unwrap();

        for number in 1..3 {
            assert!(!snapshots.due(Duration::ZERO));
            let now = clock::now();
            let purged = metadata.purge_trash(Moment::present(now), 10).await;
            assert_eq!(purged.unwrap(), 0);
            let claimed = metadata.claim_objects(now, now, 10).await;
            assert!(claimed.unwrap().is_empty());
            assert!(!snapshots.due(Duration::ZERO));

            let blob = LinkBlob {
                repository: "a/b".parse().unwrap(),
                digest: Hasher::digest(Algorithm::Sha256, &[number]),
                size: 1,
                storage_key: format!("key/{number}"),
                upload: None,
                leftovers: Vec::new(),
                now,
            };
            metadata.link_blob(blob).await.unwrap();
            assert!(snapshots.due(Duration::ZERO));
            assert!(!snapshots.due(Duration::from_secs(3600)));
            snapshots.take().await.unwrap();
        }

        // What changed before a start may be in no snapshot.
        let started = Snapshots::new(metadata, store, logs, 3);
        started.begin().await.unwrap();
        assert!(started.due(Duration::ZERO));
    }
}
