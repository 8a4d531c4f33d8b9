//! The ways from a request's frames to a file: direct or cached, hashed ahead or with the write, buffered
//! or frame by frame. Whichever it is, the bytes and the hash are right.

use std::fs;

use bytes::Bytes;
use holdfast_model::Hasher;
use proptest::prelude::*;
use tempfile::TempDir;

use super::upload_buffers::{BLOCK_BYTES, UPLOAD_BUFFER_BYTES, UPLOAD_BUFFERS};
use super::*;

const ID: [u8; 16] = [1; 16];

fn id() -> UploadId {
    UploadId::from_random(ID)
}

fn sample(length: usize) -> Bytes {
    let mut state = length as u32 | 1;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(next).collect::<Vec<_>>().into()
}

/// A way to the disk.
#[derive(Clone, Copy, Debug)]
struct Way {
    direct: bool,
    ahead: bool,
    buffers: bool,
}

const WAYS: [Way; 5] = [
    way(true, true, true),
    way(true, false, true),
    way(false, true, true),
    way(false, false, true),
    way(true, true, false),
];

const fn way(direct: bool, ahead: bool, buffers: bool) -> Way {
    Way {
        direct,
        ahead,
        buffers,
    }
}

/// A store that is left no other way than this. The second value holds what it must not use.
fn open(root: &TempDir, way: Way) -> (Arc<Filesystem>, impl Sized + use<>) {
    let store = Filesystem::open(root.path(), way.direct).unwrap();
    let shared = &store.shared;
    let processors = shared.hash_threads.available_permits() as u32;
    let taken = if way.ahead { 0 } else { processors };
    let processors = Arc::clone(&shared.hash_threads).try_acquire_many_owned(taken);
    let taken = if way.buffers { 0 } else { UPLOAD_BUFFERS };
    let buffers: Vec<_> = (0..taken).map(|_| shared.upload_buffers.take(0)).collect();
    (store, (processors.unwrap(), buffers))
}

async fn writer(store: &Filesystem, saved: Option<Progress>) -> Box<dyn UploadWriter> {
    store
        .resume_upload(id(), saved, Algorithm::Sha256)
        .await
        .unwrap()
}

async fn write_all(writer: &mut dyn UploadWriter, content: &Bytes, frame: usize) {
    for start in (0..content.len()).step_by(frame) {
        let end = content.len().min(start + frame);
        writer.write(content.slice(start..end)).await.unwrap();
    }
}

/// What is committed is `content`, and so is its hash.
async fn commit(root: &TempDir, mut writer: Box<dyn UploadWriter>, content: &[u8]) {
    assert_eq!(writer.offset(), content.len() as u64);
    let digest = writer.digest(Algorithm::Sha256).await.unwrap();
    assert_eq!(digest, Hasher::digest(Algorithm::Sha256, content));
    let key = StorageKey::canonical(&digest);
    writer.commit(&key).await.unwrap();
    let committed = fs::read(root.path().join(key.as_str())).unwrap();
    assert!(
        committed == content,
        "{} bytes committed, not the {} sent",
        committed.len(),
        content.len()
    );
}

/// What is staged is `content`, and so is its hash.
fn check(root: &TempDir, progress: &Progress, content: &[u8]) {
    let staged = fs::read(root.path().join("holdfast/uploads").join(id().to_string())).unwrap();
    assert!(
        staged == content,
        "{} bytes staged, not the {} sent",
        staged.len(),
        content.len()
    );
    assert_eq!(progress.offset, content.len() as u64);
    let expected = Hasher::digest(Algorithm::Sha256, content);
    assert_eq!(progress.hasher.clone().finish(), expected);
}

#[tokio::test]
async fn sizes_around_the_borders_of_blocks_and_buffers() {
    const BUFFER: usize = UPLOAD_BUFFER_BYTES;
    for way in WAYS {
        for size in [
            0,
            1,
            BLOCK_BYTES - 1,
            BLOCK_BYTES,
            BLOCK_BYTES + 1,
            BUFFER - 1,
            BUFFER,
            BUFFER + 1,
            BUFFER + BLOCK_BYTES,
            2 * BUFFER - 1,
            2 * BUFFER,
            2 * BUFFER + 1,
            5 * BUFFER + 7,
        ] {
            let root = TempDir::new().unwrap();
            let (store, _withheld) = open(&root, way);
            store.begin_upload(id()).await.unwrap();
            let mut writer = writer(&store, None).await;
            let content = sample(size);
            write_all(&mut *writer, &content, 100_000).await;
            commit(&root, writer, &content).await;
        }
    }
}

#[tokio::test]
async fn an_upload_goes_on_at_any_offset_in_any_way() {
    let content = sample(3 * UPLOAD_BUFFER_BYTES + 5);
    for way in WAYS {
        for cut in [1, 511, 4095, 4097, 524_287, 524_289, 1_048_577] {
            let root = TempDir::new().unwrap();
            let (store, _withheld) = open(&root, way);
            store.begin_upload(id()).await.unwrap();
            let mut first = writer(&store, None).await;
            write_all(&mut *first, &content.slice(..cut), 70_000).await;
            let saved = first.suspend().await.unwrap();
            check(&root, &saved, &content[..cut]);
            let mut second = writer(&store, Some(saved)).await;
            write_all(&mut *second, &content.slice(cut..), 70_000).await;
            commit(&root, second, &content).await;
        }
    }
}

/// Each wait of a write is cancelled once, with no room for a disk job in the beginning.
#[tokio::test]
async fn a_write_may_be_cancelled_wherever_it_waits() {
    let content = sample(6 * UPLOAD_BUFFER_BYTES + 9);
    for way in WAYS {
        let root = TempDir::new().unwrap();
        let (store, _withheld) = open(&root, way);
        store.begin_upload(id()).await.unwrap();
        let mut writer = writer(&store, None).await;
        let mut room = Vec::new();
        for _ in 0..WRITE_JOBS {
            room.push(store.shared.writes.admit().await);
        }
        loop {
            let rest = content.slice(usize::try_from(writer.offset()).unwrap()..);
            let end = rest.len().min(300_000);
            if end == 0 {
                break;
            }
            tokio::select! {
                biased;
                written = writer.write(rest.slice(..end)) => written.unwrap(),
                () = tokio::task::yield_now() => room.clear(),
            }
        }
        commit(&root, writer, &content).await;
    }
}

#[tokio::test]
async fn a_dropped_writer_leaves_a_prefix_that_can_be_continued() {
    let content = sample(5 * UPLOAD_BUFFER_BYTES);
    for way in WAYS {
        let root = TempDir::new().unwrap();
        let (store, _withheld) = open(&root, way);
        store.begin_upload(id()).await.unwrap();
        let mut first = writer(&store, None).await;
        write_all(&mut *first, &content, 200_000).await;
        // Its last jobs still run.
        drop(first);
        let mut second = writer(&store, None).await;
        let kept = usize::try_from(second.offset()).unwrap();
        write_all(&mut *second, &content.slice(kept..), 200_000).await;
        commit(&root, second, &content).await;
    }
}

#[tokio::test]
async fn an_upload_that_is_aborted_before_its_first_byte_gets_no_file() {
    let root = TempDir::new().unwrap();
    let (store, _withheld) = open(&root, WAYS[0]);
    store.begin_upload(id()).await.unwrap();
    let mut writer = writer(&store, None).await;
    writer.write(sample(100)).await.unwrap();
    store.abort_upload(id()).await.unwrap();
    let key = StorageKey::canonical(&Hasher::digest(Algorithm::Sha256, b""));
    let committed = writer.commit(&key).await;
    assert!(
        matches!(committed, Err(Error::UploadUnknown(named)) if named == id()),
        "{committed:?}"
    );
    assert_eq!(store.staged_uploads().await.unwrap(), []);
}

/// A file that ends with what could be written: here nothing, as a directory is in its place.
#[tokio::test]
async fn after_an_error_nothing_more_is_taken_and_what_was_kept_is_told() {
    for way in WAYS {
        let root = TempDir::new().unwrap();
        let (store, _withheld) = open(&root, way);
        store.begin_upload(id()).await.unwrap();
        let place = root.path().join("holdfast/uploads").join(id().to_string());
        fs::create_dir(&place).unwrap();
        let mut writer = writer(&store, None).await;
        let mut failed = Ok(());
        for _ in 0..20 {
            failed = writer.write(sample(UPLOAD_BUFFER_BYTES)).await;
            if failed.is_err() {
                break;
            }
        }
        assert!(
            matches!(failed, Err(Error::Unavailable { .. })),
            "{failed:?}"
        );
        assert_eq!(writer.offset(), 0);
        assert!(writer.write(sample(1)).await.is_err());
        let kept = writer.suspend().await.unwrap();
        let nothing = Hasher::digest(Algorithm::Sha256, b"");
        assert_eq!((kept.offset, kept.hasher.finish()), (0, nothing));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever the frames, and wherever a request ends.
    #[test]
    fn any_division_into_frames_and_requests_gives_the_same_file(
        frames in proptest::collection::vec((1_usize..700_000, proptest::bool::weighted(0.3)), 1..12),
        way in 0..WAYS.len(),
    ) {
        let length = frames.iter().map(|(length, _)| length).sum();
        let content = sample(length);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let root = TempDir::new().unwrap();
            let (store, _withheld) = open(&root, WAYS[way]);
            store.begin_upload(id()).await.unwrap();
            let mut saved = None;
            let mut sender = Some(writer(&store, None).await);
            let mut sent = 0;
            for (length, ends) in frames {
                let mut current = match sender.take() {
                    Some(current) => current,
                    None => writer(&store, saved.take()).await,
                };
                assert_eq!(current.offset(), sent as u64);
                current.write(content.slice(sent..sent + length)).await.unwrap();
                sent += length;
                if ends {
                    let progress = current.suspend().await.unwrap();
                    check(&root, &progress, &content[..sent]);
                    saved = Some(progress);
                } else {
                    sender = Some(current);
                }
            }
            let last = match sender {
                Some(last) => last,
                None => writer(&store, saved).await,
            };
            commit(&root, last, &content).await;
        });
    }
}
