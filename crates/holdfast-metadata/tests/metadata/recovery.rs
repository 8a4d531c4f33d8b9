//! Copies of the files of a database that is being written to, made in any order, give back everything that was
//! acknowledged before the copy began.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use holdfast_metadata::recovery::{self, Database as Found};
use holdfast_metadata::{Location, Metadata, Options};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::fixture::*;

/// Snapshots that are kept, and their logs.
const KEPT: u64 = 3;
/// Large enough that the write-ahead log starts over every 150 pushes.
const PAYLOAD_BYTES: usize = 100_000;
const COPIES: u64 = 8;
const WRITERS: u64 = 4;
/// Tags that are pushed to in turn.
const TAGS: u64 = 50;

/// A database with snapshots beside it, as the server keeps them.
struct Place {
    metadata: Metadata,
    directory: TempDir,
}

impl Place {
    async fn new() -> Place {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("snapshots")).unwrap();
        let metadata = open(directory.path()).await;
        let place = Place {
            metadata,
            directory,
        };
        place.snapshot(1).await;
        place
    }

    async fn snapshot(&self, number: u64) {
        let snapshots = self.directory.path().join("snapshots");
        let view = self.metadata.begin_snapshot(number).await.unwrap();
        let unfinished = snapshots.join("unfinished");
        view.copy_to(&unfinished).unwrap();
        fs::rename(unfinished, snapshots.join(format!("{number}.db"))).unwrap();
        if let Some(old) = number.checked_sub(KEPT) {
            let _ = fs::remove_file(snapshots.join(format!("{old}.db")));
            let _ = fs::remove_file(recovery::log_path(&snapshots, old));
        }
    }
}

async fn open(directory: &Path) -> Metadata {
    let mut options = Options::new(Location::File(directory.join("metadata.db")), 1);
    options.redo = Some(directory.join("snapshots"));
    Metadata::open(options, NOW).await.unwrap()
}

/// What another machine would do: puts the newest whole snapshot in a copy in order, and opens it.
async fn recovered(directory: &Path) -> Metadata {
    let (database, snapshots) = (directory.join("metadata.db"), directory.join("snapshots"));
    assert_ne!(
        recovery::inspect(&database, &snapshots).unwrap(),
        Found::Usable
    );
    let numbers = fs::read_dir(&snapshots).unwrap().filter_map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        name.strip_suffix(".db")?.parse::<u64>().ok()
    });
    let newest = numbers.max().expect("a copy has a snapshot");
    let base = snapshots.join(format!("{newest}.db"));
    recovery::rebuild(&base, newest, &snapshots, &database).unwrap();
    for gone in ["metadata.db", "metadata.db-wal", "metadata.db-shm"] {
        let _ = fs::remove_file(directory.join(gone));
    }
    fs::rename(base, database).unwrap();
    fs::remove_dir_all(&snapshots).unwrap();
    fs::create_dir(snapshots).unwrap();
    open(directory).await
}

fn image(number: u64) -> holdfast_metadata::PutManifest {
    let mut image = tagged(manifest("a", number), &[&format!("t{}", number % TAGS)]);
    let filling = number.to_le_bytes().repeat(PAYLOAD_BYTES / 8);
    image.payload = Bytes::from(filling);
    image
}

/// A small generator, so that a copy that failed can be made again.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

/// Copies a tree as `tar` does, a list of a directory first and its files after, but in any order, and so slowly that
/// much happens meanwhile: at each pause more is pushed.
fn copy_adversely(from: &Path, to: &Path, chance: &mut Chance, pause: &mut impl FnMut()) {
    fs::create_dir_all(to).unwrap();
    let mut names: Vec<_> = fs::read_dir(from)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    while !names.is_empty() {
        let name = names.swap_remove(chance.below(names.len()));
        let (source, target) = (from.join(&name), to.join(&name));
        if source.is_dir() {
            copy_adversely(&source, &target, chance, pause);
            continue;
        }
        // A file that went since it was listed is left out.
        let Ok(mut source) = File::open(source) else {
            continue;
        };
        let mut target = File::create(target).unwrap();
        let mut left = source.metadata().unwrap().len();
        // In few pieces: what is pushed in one copy must not depend on how much was pushed before.
        let mut piece = vec![0; usize::try_from(left / 4).unwrap() + 1];
        while left > 0 {
            if chance.below(3) == 0 {
                pause();
            }
            let most = piece.len().min(usize::try_from(left).unwrap());
            let length = source.read(&mut piece[..most]).unwrap();
            if length == 0 {
                break;
            }
            target.write_all(&piece[..length]).unwrap();
            left -= length as u64;
        }
        pause();
    }
}

/// Pushes as many images as it is told to, several at once.
async fn push(place: Arc<Place>, mut allowed: watch::Receiver<u64>, done: watch::Sender<u64>) {
    let mut next = 1;
    while allowed.wait_for(|allowed| *allowed >= next).await.is_ok() {
        let last = *allowed.borrow();
        while next <= last {
            let batch = next..(next + WRITERS).min(last + 1);
            next = batch.end;
            let mut pushes = tokio::task::JoinSet::new();
            for number in batch {
                let metadata = place.metadata.clone();
                pushes.spawn(async move { metadata.put_manifest(image(number)).await.unwrap() });
            }
            pushes.join_all().await;
            done.send_replace(next - 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_copy_in_any_order_has_every_push_acknowledged_before_it() {
    let place = Arc::new(Place::new().await);
    let (allow, allowed) = watch::channel(TAGS);
    let (done, acknowledged) = watch::channel(0);
    let pushing = tokio::spawn(push(place.clone(), allowed, done));
    for seed in 0..COPIES {
        let copy = tempfile::tempdir().unwrap();
        let before = *acknowledged.borrow();
        let mut chance = Chance(seed);
        let mut pauses = Chance(seed + 1000);
        // Fewer snapshots are made than are kept.
        let mut snapshots = 0;
        let mut pause = || {
            let runtime = tokio::runtime::Handle::current();
            let more = 1 + pauses.below(20) as u64;
            let mut target = 0;
            allow.send_modify(|allowed| {
                *allowed += more;
                target = *allowed;
            });
            // Half the time the copy goes on while these are pushed.
            if pauses.below(2) == 0 {
                let mut acknowledged = acknowledged.clone();
                let reached = acknowledged.wait_for(|done| *done >= target);
                runtime.block_on(async { drop(reached.await.unwrap()) });
            }
            if snapshots < KEPT - 1 && pauses.below(4) == 0 {
                snapshots += 1;
                let number = place.metadata.redo().number + 1;
                runtime.block_on(place.snapshot(number));
            }
        };
        tokio::task::block_in_place(|| {
            copy_adversely(place.directory.path(), copy.path(), &mut chance, &mut pause);
        });
        let metadata = recovered(copy.path()).await;
        for number in before.saturating_sub(TAGS - 1).max(1)..=before {
            let reference = format!("t{}", number % TAGS).parse().unwrap();
            let found = metadata.manifest(&name("a"), &reference).await.unwrap();
            let found = found.unwrap_or_else(|| panic!("copy {seed}: tag {reference} is lost"));
            let found_number = u64::from_le_bytes(found.payload[..8].try_into().unwrap());
            assert!(
                found_number >= number,
                "copy {seed}: {number} of {before} is lost"
            );
            assert_eq!(found.payload, image(found_number).payload);
        }
        metadata.close().await.unwrap();
    }
    drop(allow);
    pushing.await.unwrap();
}
