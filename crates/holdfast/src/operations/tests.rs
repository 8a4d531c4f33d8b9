//! Pushes over a store that fails, delays and tears on purpose.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use holdfast_metadata::{Location, Metadata, Options};
use holdfast_model::{Algorithm, Digest, Hasher, RepositoryName};
use holdfast_storage::faulty::{Fault, Faulty, Operation, Schedule};
use holdfast_storage::{BlobStore, Memory};

use super::{ByteStream, Chunk, Error, Operations, Rules};
use crate::config::Config;

struct Registry {
    operations: Operations,
    store: Arc<Faulty>,
    repository: RepositoryName,
}

async fn registry(schedule: Schedule, sessions: u64) -> Registry {
    let store = Faulty::new(Memory::new(), schedule);
    let metadata = Metadata::open(Options::new(Location::Memory, 1), crate::clock::now())
        .await
        .unwrap();
    let rules = Rules {
        deletes: true,
        read_only: false,
        push: Config::embedded_default().validation,
        manifest_bytes: 4 << 20,
        tags_per_push: 10,
        upload_sessions: sessions,
        upload_age: Duration::from_secs(3600),
        note_pulls: false,
        scratch: None,
    };
    let blobs: Arc<dyn BlobStore> = store.clone();
    Registry {
        operations: Operations::new(metadata, blobs, rules),
        store,
        repository: "a/b".parse().unwrap(),
    }
}

fn content(seed: usize, length: usize) -> (Bytes, Digest) {
    let bytes: Vec<u8> = (0..length)
        .map(|at| (at * 31 + seed * 7 + at / 251) as u8)
        .collect();
    let digest = Hasher::digest(Algorithm::Sha256, &bytes);
    (Bytes::from(bytes), digest)
}

fn body(bytes: &[u8]) -> ByteStream {
    let frames: Vec<_> = bytes
        .chunks(10_000)
        .map(|frame| Ok(Bytes::copy_from_slice(frame)))
        .collect();
    futures_util::stream::iter(frames).boxed()
}

fn chunk(bytes: &[u8]) -> Chunk {
    Chunk {
        range: None,
        length: None,
        body: body(bytes),
    }
}

impl Registry {
    async fn pull(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        let blob = self.operations.blob(&self.repository, digest).await?;
        let reader = self.operations.open_blob(digest, &blob).await?;
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < reader.size() {
            bytes.extend_from_slice(&reader.read_at(bytes.len() as u64, 1 << 20).await?);
        }
        Ok(bytes)
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_goes_on_where_the_store_failed() {
    for fault in [Fault::Full, Fault::Unavailable, Fault::Torn] {
        let registry = registry(Schedule::new(1).on_call(Operation::Write, 3, fault), 10).await;
        let (operations, repository) = (&registry.operations, &registry.repository);
        let (bytes, digest) = content(1, 100_000);
        let id = operations
            .start_upload(repository, Algorithm::Sha256)
            .await
            .unwrap();
        let failed = operations.append_chunk(repository, id, chunk(&bytes)).await;
        assert!(
            matches!(failed, Err(Error::Storage(_))),
            "{fault:?}: {failed:?}"
        );
        let offset = operations.upload_offset(repository, id).await.unwrap();
        assert!(offset < bytes.len() as u64, "{fault:?}");
        let rest = &bytes[usize::try_from(offset).unwrap()..];
        operations
            .finish_upload(repository, id, digest, chunk(rest))
            .await
            .unwrap();
        assert_eq!(registry.pull(&digest).await.unwrap(), bytes, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_push_that_could_not_be_committed_can_be_made_again() {
    for fault in [Fault::Full, Fault::Unavailable, Fault::AnswerLost] {
        let registry = registry(Schedule::new(1).on_call(Operation::Commit, 1, fault), 10).await;
        let (bytes, digest) = content(2, 50_000);
        let failed = registry
            .operations
            .push_blob(&registry.repository, digest, body(&bytes))
            .await;
        assert!(
            matches!(failed, Err(Error::Storage(_))),
            "{fault:?}: {failed:?}"
        );
        assert!(
            matches!(registry.pull(&digest).await, Err(Error::BlobUnknown(_))),
            "{fault:?}"
        );
        registry
            .operations
            .push_blob(&registry.repository, digest, body(&bytes))
            .await
            .unwrap();
        assert_eq!(registry.pull(&digest).await.unwrap(), bytes, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_could_not_begin_counts_against_no_limit() {
    let registry = registry(
        Schedule::new(1).one_in(Operation::BeginUpload, 1, Fault::Unavailable),
        3,
    )
    .await;
    for _ in 0..10 {
        let failed = registry
            .operations
            .start_upload(&registry.repository, Algorithm::Sha256)
            .await;
        assert!(matches!(failed, Err(Error::Storage(_))), "{failed:?}");
    }
    registry.store.heal();
    for _ in 0..3 {
        registry
            .operations
            .start_upload(&registry.repository, Algorithm::Sha256)
            .await
            .unwrap();
    }
    let refused = registry
        .operations
        .start_upload(&registry.repository, Algorithm::Sha256)
        .await;
    assert!(
        matches!(refused, Err(Error::TooManyUploads { limit: 3 })),
        "{refused:?}"
    );
}

/// Whatever fails, a push that was acknowledged pulls back byte for byte.
#[tokio::test(start_paused = true)]
async fn acknowledged_pushes_survive_any_fault() {
    const TRIES: usize = 200;
    for seed in 0..20 {
        let schedule = Schedule::new(seed)
            .one_in(Operation::Write, 9, Fault::Torn)
            .one_in(Operation::Digest, 7, Fault::Unavailable)
            .one_in(Operation::Commit, 9, Fault::Unavailable)
            .one_in(Operation::ResumeUpload, 11, Fault::Unavailable)
            .one_in(Operation::Commit, 5, Fault::AnswerLost)
            .one_in(Operation::AbortUpload, 5, Fault::Unavailable)
            .one_in(Operation::Size, 6, Fault::Unavailable)
            .one_in(Operation::UncommitUpload, 3, Fault::Unavailable)
            .one_in(Operation::Delete, 3, Fault::Unavailable);
        let registry = registry(schedule, 10_000).await;
        let mut acknowledged = Vec::new();
        for number in 0..TRIES {
            // Few contents, so that most are pushed again and again.
            let (bytes, digest) = content(number % 23, 1000 + number % 23 * 4000);
            if registry
                .operations
                .push_blob(&registry.repository, digest, body(&bytes))
                .await
                .is_ok()
            {
                acknowledged.push((digest, bytes));
            }
        }
        registry.store.heal();
        assert!(
            acknowledged.len() > TRIES / 10,
            "seed {seed}: only {} pushes passed",
            acknowledged.len()
        );
        assert!(
            !registry.store.injected().is_empty(),
            "seed {seed}: nothing failed"
        );
        for (digest, bytes) in acknowledged {
            assert_eq!(registry.pull(&digest).await.unwrap(), bytes, "seed {seed}");
        }
    }
}

/// A store may forget an upload without bytes when it is closed; the session is in the database.
#[tokio::test]
async fn a_session_without_bytes_outlives_what_the_store_knows_of_it() {
    let registry = registry(Schedule::new(1), 10).await;
    let (operations, repository) = (&registry.operations, &registry.repository);
    let (bytes, digest) = content(1, 1000);
    let id = operations
        .start_upload(repository, Algorithm::Sha256)
        .await
        .unwrap();
    registry.store.abort_upload(id).await.unwrap();
    assert_eq!(operations.upload_offset(repository, id).await.unwrap(), 0);
    registry.store.abort_upload(id).await.unwrap();
    operations
        .finish_upload(repository, id, digest, chunk(&bytes))
        .await
        .unwrap();
    assert_eq!(registry.pull(&digest).await.unwrap(), bytes);
}

/// The second finds what the first has stored, and stores nothing itself.
#[tokio::test]
async fn content_pushed_twice_at_once_is_stored_once() {
    let schedule = Schedule::new(1)
        .on_call(
            Operation::Commit,
            1,
            Fault::Delay(Duration::from_millis(100)),
        )
        .on_call(Operation::Commit, 2, Fault::Unavailable);
    let registry = registry(schedule, 10).await;
    let (bytes, digest) = content(1, 100_000);
    let push = || {
        let operations = &registry.operations;
        operations.push_blob(&registry.repository, digest, body(&bytes))
    };
    let (one, two) = tokio::join!(push(), push());
    one.unwrap();
    two.unwrap();
    assert_eq!(registry.pull(&digest).await.unwrap(), bytes);
}

/// Whoever claims a digest that he does not have must not come between those who have it.
#[tokio::test]
async fn a_false_digest_waits_for_nobody() {
    let registry = registry(Schedule::new(1), 10).await;
    let (operations, repository) = (&registry.operations, &registry.repository);
    let (bytes, digest) = content(1, 1000);
    let (other, _) = content(2, 1000);
    let publishing = operations.publishers.wait(digest).await;
    let claim = operations.push_blob(repository, digest, body(&other));
    let answer = tokio::time::timeout(Duration::from_secs(60), claim).await;
    assert!(matches!(answer, Ok(Err(Error::DigestMismatch { .. }))));
    drop(publishing);
    let pushed = operations.push_blob(repository, digest, body(&bytes));
    pushed.await.unwrap();
}

/// What a push has sent is kept when another of the same content does not come to an end.
#[tokio::test(start_paused = true)]
async fn another_push_is_not_waited_for_without_end() {
    let registry = registry(Schedule::new(1), 10).await;
    let (operations, repository) = (&registry.operations, &registry.repository);
    let (bytes, digest) = content(1, 1000);
    let id = operations
        .start_upload(repository, digest.algorithm())
        .await
        .unwrap();
    let publishing = operations.publishers.wait(digest).await;
    let two_minutes = Duration::from_secs(120);
    let waiting = tokio::time::timeout(2 * two_minutes, operations.publisher(digest));
    let began = tokio::time::Instant::now();
    let refused = waiting.await.expect("it has an end").err();
    assert!(
        matches!(refused, Some(Error::BlobBusy(busy)) if busy == digest),
        "{refused:?}"
    );
    assert_eq!(began.elapsed().as_secs(), two_minutes.as_secs());
    let push = operations.finish_upload(repository, id, digest, chunk(&bytes));
    let refused = push.await.unwrap_err();
    assert!(matches!(refused, Error::BlobBusy(_)), "{refused:?}");
    drop(publishing);
    operations
        .finish_upload(repository, id, digest, chunk(&[]))
        .await
        .unwrap();
    assert_eq!(registry.pull(&digest).await.unwrap(), bytes);
}

/// A store that cannot be read has not lost anything.
#[tokio::test(start_paused = true)]
async fn an_outage_is_no_damage() {
    let schedule = Schedule::new(1)
        .one_in(Operation::Open, 1, Fault::Unavailable)
        .one_in(Operation::Size, 1, Fault::Unavailable);
    let registry = registry(schedule, 10).await;
    let operations = &registry.operations;
    let (bytes, digest) = content(1, 50_000);
    operations
        .push_blob(&registry.repository, digest, body(&bytes))
        .await
        .unwrap();
    let pass = operations.scrub(Duration::ZERO, 1 << 30).await.unwrap();
    assert_eq!((pass.blobs, pass.damaged, pass.unread), (0, 0, 1));
    let (sender, mut events) = tokio::sync::mpsc::channel(100);
    let options = super::CheckOptions {
        repair: true,
        read_data: true,
        bytes_per_second: None,
    };
    operations.check(options, sender).await.unwrap();
    let mut last = None;
    while let Some(event) = events.recv().await {
        last = Some(event);
    }
    let Some(super::Event::Summary(summary)) = last else {
        panic!("{last:?}");
    };
    assert_eq!((summary.found, summary.unchecked), (0, 1));
    registry.store.heal();
    assert_eq!(registry.pull(&digest).await.unwrap(), bytes);
    let pass = operations.scrub(Duration::ZERO, 1 << 30).await.unwrap();
    assert_eq!((pass.blobs, pass.bytes, pass.damaged), (1, 50_000, 0));
}
