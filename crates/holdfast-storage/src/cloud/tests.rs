//! The driver over a service in memory that counts requests and fails as told. `tests/black_box/object_stores` runs
//! the same suite against real servers.

mod service;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use holdfast_model::{Algorithm, Hasher, UploadId};

use self::service::{Fake, Kind};
use super::bucket::COPY_BYTES_MAX;
use super::*;
use crate::{Leftovers, Progress};

const MIB: usize = 1024 * 1024;

fn random() -> [u8; 16] {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = u128::from(COUNT.fetch_add(1, Ordering::Relaxed));
    (count + 1).to_be_bytes()
}

/// A node that works on this service, with parts of 5 MiB.
fn node(service: &Arc<Fake>) -> Arc<Cloud> {
    node_with(service, 512 * MIB)
}

/// The same with room for so many bytes.
fn node_with(service: &Arc<Fake>, memory_bytes: usize) -> Arc<Cloud> {
    let common = Common {
        root_directory: "/some/where/".to_owned(),
        part_bytes: 5 * MIB,
        redirect: true,
        user_agent: None,
        skip_verify: false,
        retries: 0,
        retry_pause: Duration::from_millis(1),
    };
    let bucket = Bucket {
        driver: "fake",
        making: service.clone(),
        service: service.clone(),
        listing: service.clone(),
        signer: None,
        multiparts: Some(service.clone()),
        root: common.root(),
        listed_root: "",
        copy_bytes_max: COPY_BYTES_MAX,
    };
    let limits = Limits {
        memory_bytes,
        ..Limits::new(&common, 2 * MIB, 100)
    };
    Cloud::new(bucket, limits, &common, random)
}

fn upload() -> UploadId {
    UploadId::from_random(random())
}

async fn writer(node: &Cloud, id: UploadId, saved: Option<Progress>) -> Box<dyn UploadWriter> {
    let resumed = node.resume_upload(id, saved, Algorithm::Sha256).await;
    resumed.unwrap()
}

/// Writes so many bytes in frames as they come from a socket.
async fn write(writer: &mut Box<dyn UploadWriter>, length: usize) -> Result<()> {
    let frame = Bytes::from(vec![7; 256 * 1024]);
    let mut left = length;
    while left > 0 {
        let part = frame.slice(..left.min(frame.len()));
        left -= part.len();
        writer.write(part).await?;
    }
    Ok(())
}

/// Deletes what a commit has left behind.
async fn delete_leftovers(node: &Cloud, committed: &Progress, key: &StorageKey) -> Result<()> {
    match node.leftovers(committed) {
        Leftovers::Objects(left) => node.delete(&left).await,
        Leftovers::Unknown => node.delete_rest(key).await,
    }
}

fn hash(length: usize) -> holdfast_model::Digest {
    Hasher::digest(Algorithm::Sha256, &vec![7; length])
}

#[tokio::test]
async fn keeps_what_every_store_promises() {
    let service = Fake::new();
    crate::suite::run(async || node(&service) as Arc<dyn BlobStore>).await;
    assert_eq!(service.unfinished(), 0, "no multipart upload is left");
}

/// A snapshot has no session that would tell.
#[tokio::test]
async fn what_is_being_written_here_is_not_unfinished() {
    let service = Fake::new();
    let (here, elsewhere) = (node(&service), node(&service));
    let id = upload();
    let found = async |node: &Cloud| {
        let found = node.unfinished(10).await.unwrap();
        let uploads = found.iter().map(|unfinished| unfinished.key.upload());
        uploads.collect::<Vec<_>>()
    };
    let mut upload = writer(&here, id, None).await;
    write(&mut upload, 6 * MIB).await.unwrap();
    assert_eq!(found(&here).await, []);
    assert_eq!(found(&elsewhere).await, [Some(id)]);
    let again = writer(&here, id, None).await;
    drop(upload);
    assert_eq!(found(&here).await, []);
    drop(again);
    assert_eq!(found(&here).await, [Some(id)]);
}

#[tokio::test]
async fn requests_are_as_few_as_the_table_says() {
    use Kind::{Complete, Create, Delete, Get, Head, Part, Put};
    let service = Fake::new();
    let node = node(&service);
    type Steps = &'static [usize];
    let cases: [(Steps, &[(Kind, usize)]); 7] = [
        // One request of a client with everything; docker's `PATCH` and empty `PUT`.
        (&[1000], &[(Put, 1)]),
        (&[1000, 0], &[(Put, 1)]),
        (&[5 * MIB, 0], &[(Put, 1)]),
        (
            &[12 * MIB],
            &[(Head, 1), (Create, 1), (Part, 3), (Complete, 1)],
        ),
        // What is left is enough for a part.
        (
            &[13 * MIB, 0],
            &[(Head, 1), (Create, 1), (Part, 3), (Complete, 1)],
        ),
        (
            &[11 * MIB, 0],
            &[
                (Put, 1),
                (Head, 1),
                (Create, 1),
                (Part, 3),
                (Complete, 1),
                (Delete, 1),
            ],
        ),
        // Cut small: each piece is kept beside, and what it replaces goes.
        (&[MIB, MIB, MIB, 0], &[(Put, 3), (Delete, 2)]),
    ];
    for (steps, expected) in cases {
        service.forget();
        let id = upload();
        let mut saved = None;
        let (last, before) = steps.split_last().unwrap();
        for length in before {
            let mut open = writer(&node, id, saved).await;
            write(&mut open, *length).await.unwrap();
            saved = Some(open.suspend().await.unwrap());
        }
        let mut open = writer(&node, id, saved).await;
        write(&mut open, *last).await.unwrap();
        let digest = open.digest(Algorithm::Sha256).await.unwrap();
        assert_eq!(digest, hash(steps.iter().sum()));
        let key = open.own_key().unwrap();
        let committed = open.commit(&key).await.unwrap().unwrap();
        delete_leftovers(&node, &committed, &key).await.unwrap();
        assert_eq!(service.requests(), expected, "{steps:?}");
    }
    service.forget();
    let id = upload();
    let mut open = writer(&node, id, None).await;
    write(&mut open, 1000).await.unwrap();
    open.discard().await.unwrap();
    assert_eq!(
        service.requests(),
        [],
        "what was never sent needs no deletion"
    );

    let mut open = writer(&node, id, None).await;
    write(&mut open, 12 * MIB).await.unwrap();
    let key = open.own_key().unwrap();
    open.commit(&key).await.unwrap();
    service.forget();
    let reader = node.open(&key).await.unwrap();
    let mut offset = 0;
    while offset < reader.size() {
        offset += reader.read_at(offset, usize::MAX).await.unwrap().len() as u64;
    }
    let expected = [(Head, 1), (Get, 1)];
    assert_eq!(service.requests(), expected, "reads that follow each other");
}

#[tokio::test]
async fn what_was_left_is_fetched_by_another_node_only() {
    let service = Fake::new();
    let (here, elsewhere) = (node(&service), node(&service));
    for (next, fetched) in [(&here, 0), (&elsewhere, 1)] {
        let id = upload();
        let mut open = writer(&here, id, None).await;
        write(&mut open, MIB).await.unwrap();
        let saved = open.suspend().await.unwrap();
        service.forget();
        let mut open = writer(next, id, Some(saved)).await;
        write(&mut open, 11 * MIB).await.unwrap();
        assert_eq!(service.count(Kind::Get), fetched);
        let saved = open.suspend().await.unwrap();
        let mut open = writer(next, id, Some(saved)).await;
        assert_eq!(
            open.digest(Algorithm::Sha256).await.unwrap(),
            hash(12 * MIB)
        );
        let key = open.own_key().unwrap();
        open.commit(&key).await.unwrap();
    }
}

/// Every request of an upload fails once, before or after it had its effect; a client that goes on from what it is
/// told always comes to an end, and nothing is left behind.
#[tokio::test]
async fn an_upload_survives_the_failure_of_any_request() {
    const STEPS: [usize; 5] = [1000, 6 * MIB, 11 * MIB, 100, 3 * MIB];
    let total: usize = STEPS.iter().sum();
    for effective in [false, true] {
        for failing in 0.. {
            let service = Fake::new();
            let id = upload();
            service.fail(failing, effective);
            let mut record = Progress::new(0, Hasher::new(Algorithm::Sha256));
            let mut steps = STEPS.iter();
            let mut end = 0;
            let key = loop {
                let node = node(&service);
                let saved = record.clone();
                record.doubtful = true;
                let offset = saved.offset as usize;
                if offset == end {
                    let Some(step) = steps.next() else {
                        let mut open = writer(&node, id, Some(saved)).await;
                        let digest = open.digest(Algorithm::Sha256).await.unwrap();
                        assert_eq!(digest, hash(total), "{failing} {effective}");
                        let key = open.own_key().unwrap();
                        let Ok(Some(committed)) = open.commit(&key).await else {
                            continue;
                        };
                        record = committed.clone();
                        match delete_leftovers(&node, &committed, &key).await {
                            Ok(()) => break key,
                            Err(_) => continue,
                        }
                    };
                    end += step;
                }
                let mut open = writer(&node, id, Some(saved)).await;
                let written = write(&mut open, end - offset).await;
                match open.suspend().await {
                    Ok(progress) => {
                        assert!(written.is_ok() || progress.offset as usize >= offset);
                        record = progress;
                    }
                    Err(_) => assert!(written.is_ok(), "a failure is reported once"),
                }
            };
            service.heal();
            let node = node(&service);
            let found = node
                .shared
                .digest_of(&key, Algorithm::Sha256)
                .await
                .unwrap();
            assert_eq!(found, Some((total as u64, hash(total))));
            assert_eq!(
                service.names().len(),
                1,
                "{failing} {effective}: {:?}",
                service.names()
            );
            assert_eq!(service.unfinished(), 0, "{failing} {effective}");
            if !service.has_failed() {
                assert!(failing > 10, "an upload takes some requests");
                break;
            }
        }
    }
}

#[tokio::test]
async fn an_object_that_is_not_there_is_not_believed() {
    let service = Fake::new();
    let node = node(&service);
    let id = upload();
    let mut open = writer(&node, id, None).await;
    write(&mut open, 12 * MIB).await.unwrap();
    let saved = open.suspend().await.unwrap();
    service.feign_completions();
    let open = writer(&node, id, Some(saved)).await;
    let key = open.own_key().unwrap();
    let refused = open.commit(&key).await.unwrap_err();
    assert!(matches!(refused, Error::UploadUnknown(unknown) if unknown == id));
}

#[tokio::test]
async fn too_many_parts_are_refused_by_name() {
    let service = Fake::new();
    let node = node(&service);
    let mut open = writer(&node, upload(), None).await;
    let refused = write(&mut open, 506 * MIB).await.unwrap_err();
    assert!(matches!(refused, Error::TooLarge { max, .. } if max == 500 * MIB as u64));
}

/// Whether the writer may go on waiting for its client, for very long.
async fn may_stay(writer: &mut Box<dyn UploadWriter>) -> bool {
    let week = Duration::from_secs(7 * 24 * 3600);
    let asked = tokio::time::timeout(week, writer.out_of_time()).await;
    asked.is_err()
}

/// Two uploads whose clients send no more, and that take all the room of their node.
async fn stalled(service: &Arc<Fake>) -> (Arc<Cloud>, Vec<(UploadId, Box<dyn UploadWriter>)>) {
    let node = node_with(service, 10 * MIB);
    let mut stalled = Vec::new();
    for _ in 0..2 {
        let id = upload();
        let mut open = writer(&node, id, None).await;
        write(&mut open, 2 * MIB).await.unwrap();
        stalled.push((id, open));
    }
    (node, stalled)
}

#[tokio::test(start_paused = true)]
async fn slow_clients_give_way_one_by_one_to_those_who_wait() {
    let service = Fake::new();
    let (node, mut slow) = stalled(&service).await;
    for (_, open) in &mut slow {
        assert!(may_stay(open).await, "nobody waits");
    }
    // Little needs no room.
    let mut small = writer(&node, upload(), None).await;
    write(&mut small, MIB).await.unwrap();
    for (_, open) in &mut slow {
        assert!(may_stay(open).await, "nobody waits");
    }

    let pushing = tokio::spawn({
        let node = Arc::clone(&node);
        async move {
            let mut fast = writer(&node, upload(), None).await;
            write(&mut fast, 4 * MIB).await.unwrap();
            fast
        }
    });
    let began = tokio::time::Instant::now();
    let (one, two) = slow.split_at_mut(1);
    let (late, gone) = tokio::select! {
        late = one[0].1.out_of_time() => (late, 0),
        late = two[0].1.out_of_time() => (late, 1),
    };
    assert!(matches!(late, Error::Overloaded { .. }), "{late:?}");
    assert_eq!(began.elapsed(), Duration::from_secs(30));
    let (id, open) = slow.remove(gone);
    let (_, other) = &mut slow[0];
    let asked = tokio::time::timeout(Duration::from_secs(1), other.out_of_time()).await;
    assert!(asked.is_err(), "one is enough");
    let saved = open.suspend().await.unwrap();
    assert_eq!(saved.offset, 2 * MIB as u64, "all it sent is kept");
    let fast = pushing.await.unwrap();
    assert!(may_stay(other).await, "nobody waits any more");

    drop(fast);
    let mut again = writer(&node, id, Some(saved)).await;
    write(&mut again, 9 * MIB).await.unwrap();
    let digest = again.digest(Algorithm::Sha256).await.unwrap();
    assert_eq!(digest, hash(11 * MIB));
}

#[tokio::test(start_paused = true)]
async fn room_is_not_waited_for_without_end() {
    let service = Fake::new();
    let (node, stalled) = stalled(&service).await;
    let mut open = writer(&node, upload(), None).await;
    let began = tokio::time::Instant::now();
    let refused = write(&mut open, 2 * MIB).await.unwrap_err();
    assert!(matches!(refused, Error::Overloaded { .. }), "{refused:?}");
    assert_eq!(began.elapsed(), Duration::from_secs(120));
    let saved = open.suspend().await.unwrap();
    assert_eq!(saved.offset, 0);
    drop(stalled);
    let mut again = writer(&node, upload(), None).await;
    write(&mut again, 20 * MIB).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn slow_clients_stay_while_room_is_free_soon() {
    const SOON: Duration = Duration::from_secs(29);
    let service = Fake::new();
    let (node, mut stalled) = stalled(&service).await;
    let (_, mut busy) = stalled.pop().unwrap();
    let (_, mut slow) = stalled.pop().unwrap();
    let others = async {
        for _ in 0..10 {
            let mut next = writer(&node, upload(), None).await;
            let waiting = write(&mut next, 2 * MIB);
            let (waited, ()) = tokio::join!(waiting, async {
                tokio::time::sleep(SOON).await;
                drop(busy);
            });
            waited.unwrap();
            busy = next;
        }
    };
    tokio::select! {
        biased;
        late = slow.out_of_time() => panic!("{late}"),
        () = others => {}
    }
}

/// Who publishes a blob may keep others of the same content waiting, and they may have all the room there is.
#[tokio::test(start_paused = true)]
async fn a_commit_waits_for_nobody_s_room() {
    let service = Fake::new();
    let node = node_with(&service, 10 * MIB);
    let id = upload();
    let mut open = writer(&node, id, None).await;
    let length = 11 * MIB + MIB / 2;
    write(&mut open, length).await.unwrap();
    let saved = open.suspend().await.unwrap();

    let take = async || {
        let mut open = writer(&node, upload(), None).await;
        write(&mut open, 2 * MIB).await.unwrap();
        open
    };
    let (one, two) = (take().await, take().await);
    let mut open = writer(&node, id, Some(saved)).await;
    let refused = open.digest(Algorithm::Sha256).await.unwrap_err();
    assert!(matches!(refused, Error::Overloaded { .. }), "{refused:?}");
    let saved = open.suspend().await.unwrap();
    assert_eq!(saved.offset, length as u64, "all it sent is kept");
    drop(one);

    let mut open = writer(&node, id, Some(saved)).await;
    let digest = open.digest(Algorithm::Sha256).await.unwrap();
    assert_eq!(digest, hash(length));
    let waiting = tokio::spawn({
        let node = Arc::clone(&node);
        async move {
            let mut open = writer(&node, upload(), None).await;
            write(&mut open, 2 * MIB).await
        }
    });
    let key = open.own_key().unwrap();
    let began = tokio::time::Instant::now();
    open.commit(&key).await.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO);
    waiting.await.unwrap().unwrap();
    drop(two);
}
