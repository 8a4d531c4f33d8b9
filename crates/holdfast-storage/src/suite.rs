//! What every driver promises, as one suite. A backend is supported when it passes.
//!
//! Durability itself is shown elsewhere, by cutting the power of a virtual machine; here a store is
//! closed and opened again.

mod place;
mod shared;

use std::sync::Arc;

use bytes::Bytes;
use holdfast_model::{Algorithm, Hasher};

use self::place::{Place, sample, sha256};
use crate::{BlobStore, Error, LISTED_AT_ONCE, Progress, READ_CHUNK_BYTES, StorageKey};

const MIB: usize = 1024 * 1024;

/// Runs the suite. `open` opens the one place under test, empty at first; it is called again after
/// the store before was dropped.
///
/// # Panics
///
/// When a promise is broken.
pub async fn run(open: impl AsyncFn() -> Arc<dyn BlobStore>) {
    let mut place = Place::new(open().await);
    an_upload_is_invisible_until_it_is_committed(&mut place).await;
    contents_of_many_sizes_come_back(&mut place).await;
    an_upload_resumes_anywhere_in_a_store_opened_again(&mut place, &open).await;
    if place.store().is_shared() {
        shared::run(&mut place, &open).await;
    } else {
        the_stored_bytes_are_believed_before_the_record(&mut place).await;
        a_commit_can_be_taken_back(&mut place).await;
        unknown_uploads_are_named(&mut place).await;
        aborting_forgets_and_can_be_repeated(&mut place).await;
        staged_uploads_are_listed(&mut place, &open).await;
    }
    another_algorithm_can_be_hashed(&mut place).await;
    equal_contents_do_not_meet(&mut place).await;
    a_commit_replaces_what_was_there(&mut place).await;
    ranges_are_what_was_asked_for(&mut place).await;
    stored_bytes_are_hashed_piece_by_piece(&mut place).await;
    unknown_things_are_named(&mut place).await;
    deleting_can_be_repeated(&mut place).await;
    small_objects_are_put_whole(&mut place, &open).await;
    an_object_gets_a_second_key(&mut place, &open).await;
    small_contents_are_read_whole(&mut place).await;
    objects_are_listed(&mut place).await;
    large_contents_pass(&mut place, &open).await;
    place
        .store()
        .probe()
        .await
        .expect("a working store passes its health check");
}

async fn an_upload_is_invisible_until_it_is_committed(place: &mut Place) {
    let content = sample(1, 1000);
    let key = StorageKey::canonical(&sha256(&content));
    let id = place.begun().await;
    place.absent(&key).await;
    let saved = place.append(id, None, &content).await;
    place.absent(&key).await;
    let digest = place.commit(id, Some(saved), &key).await;
    assert_eq!(digest, sha256(&content));
    assert_eq!(place.content(&key).await, content);
    assert_eq!(
        place.store().size(&key).await.expect("the store answers"),
        Some(1000)
    );
}

async fn contents_of_many_sizes_come_back(place: &mut Place) {
    let sizes = [
        0,
        1,
        32 * 1024,
        32 * 1024 + 1,
        READ_CHUNK_BYTES,
        512 * 1024 - 1,
        512 * 1024,
        512 * 1024 + 1,
        MIB,
        MIB + 1,
    ];
    for size in sizes {
        let content = sample(size as u64, size);
        let key = place.push(&content).await;
        assert!(place.content(&key).await == content, "{size} bytes");
    }
}

async fn an_upload_resumes_anywhere_in_a_store_opened_again(
    place: &mut Place,
    open: &impl AsyncFn() -> Arc<dyn BlobStore>,
) {
    let content = sample(3, 700_000);
    for cut in [0, 1, 63, 64, 65, 4096, 524_288, 524_289, 699_999, 700_000] {
        let id = place.begun().await;
        let saved = place.append(id, None, &content[..cut]).await;
        place.reopen(open).await;
        let saved = place.append(id, Some(saved), &content[cut..]).await;
        assert_eq!(
            saved.hasher.clone().finish(),
            sha256(&content),
            "cut at {cut}"
        );
        place.reopen(open).await;
        let key = StorageKey::incarnation(&sha256(&content), place.mark());
        let digest = place.commit(id, Some(saved), &key).await;
        assert_eq!(digest, sha256(&content));
        place.reopen(open).await;
        assert!(place.content(&key).await == content, "cut at {cut}");
    }
}

async fn the_stored_bytes_are_believed_before_the_record(place: &mut Place) {
    let content = sample(4, 300_000);
    let recorded = |length: usize, algorithm| {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(&content[..length.min(content.len())]);
        Some(Progress::new(length as u64, hasher))
    };
    for saved in [
        None,
        recorded(0, Algorithm::Sha256),
        recorded(1, Algorithm::Sha256),
        recorded(200_000, Algorithm::Sha256),
        recorded(200_001, Algorithm::Sha256),
        recorded(900_000, Algorithm::Sha256),
        recorded(200_000, Algorithm::Sha512),
    ] {
        let id = place.begun().await;
        place.append(id, None, &content[..200_000]).await;
        let progress = place.append(id, saved, &content[200_000..]).await;
        assert_eq!(
            (progress.offset, progress.hasher.finish()),
            (300_000, sha256(&content))
        );
        place
            .store()
            .abort_upload(id)
            .await
            .expect("the upload is aborted");
    }
}

async fn another_algorithm_can_be_hashed(place: &mut Place) {
    let algorithms = [Algorithm::Sha256, Algorithm::Sha512];
    for (size, hashed) in [(0, 0), (1000, 0), (300_000, 1), (600_000, 0), (600_000, 1)] {
        let content = sample(5, size);
        let id = place.begun().await;
        let mut writer = place
            .store()
            .resume_upload(id, None, algorithms[hashed])
            .await
            .expect("the upload resumes");
        // Hashed in between, too: more may follow.
        for piece in content.chunks(content.len() / 2 + 1) {
            for algorithm in algorithms {
                writer.digest(algorithm).await.expect("it is hashed");
            }
            let piece = Bytes::copy_from_slice(piece);
            writer.write(piece).await.expect("bytes are taken");
        }
        for algorithm in [0, 1, 0].map(|at| algorithms[at]) {
            let digest = writer.digest(algorithm).await.expect("it is hashed");
            assert_eq!(digest, Hasher::digest(algorithm, &content), "{size}");
        }
        let key = StorageKey::canonical(&Hasher::digest(Algorithm::Sha512, &content));
        writer.commit(&key).await.expect("the upload is committed");
        assert!(place.content(&key).await == content, "{size}");
    }
}

async fn equal_contents_do_not_meet(place: &mut Place) {
    let content = sample(6, 200_000);
    let (one, two) = (place.begun().await, place.begun().await);
    let first = place.append(one, None, &content[..50_000]).await;
    let second = place.append(two, None, &content[..120_000]).await;
    let first = place.append(one, Some(first), &content[50_000..]).await;
    let second = place.append(two, Some(second), &content[120_000..]).await;
    let canonical = StorageKey::canonical(&sha256(&content));
    let beside = StorageKey::incarnation(&sha256(&content), [9; 16]);
    for (id, saved, key) in [(one, first, &canonical), (two, second, &beside)] {
        assert_eq!(place.commit(id, Some(saved), key).await, sha256(&content));
    }
    place
        .store()
        .delete(std::slice::from_ref(&canonical))
        .await
        .expect("the object is deleted");
    place.absent(&canonical).await;
    assert_eq!(place.content(&beside).await, content);
}

async fn a_commit_replaces_what_was_there(place: &mut Place) {
    let content = sample(7, 150_000);
    let key = place.push(&content).await;
    let reader = place.store().open(&key).await.expect("the object opens");
    assert_eq!(place.push(&content).await, key);
    assert_eq!(place.content(&key).await, content);
    place.still_reads(&*reader, &content).await;
}

async fn a_commit_can_be_taken_back(place: &mut Place) {
    let content = sample(14, 150_000);
    let key = StorageKey::canonical(&sha256(&content));
    let id = place.begun().await;
    let saved = place.append(id, None, &content).await;
    place.commit(id, Some(saved.clone()), &key).await;
    let store = place.store();
    store
        .uncommit_upload(id, &key)
        .await
        .expect("the commit is taken back");
    assert!(matches!(
        store.uncommit_upload(id, &key).await,
        Err(Error::NotFound(_))
    ));
    place.absent(&key).await;
    let digest = place.commit(id, Some(saved), &key).await;
    assert_eq!(digest, sha256(&content));
    assert_eq!(place.content(&key).await, content);
}

async fn ranges_are_what_was_asked_for(place: &mut Place) {
    let content = sample(8, 600_000);
    let key = place.push(&content).await;
    let reader = place.store().open(&key).await.expect("the object opens");
    assert_eq!(reader.size(), 600_000);
    let offsets = [0, 1, 4095, 262_144, 599_999];
    for (offset, max) in offsets
        .into_iter()
        .flat_map(|offset| [(offset, 0), (offset, 1), (offset, 70_000)])
    {
        let piece = reader
            .read_at(offset as u64, max)
            .await
            .expect("the range reads");
        assert!(
            !piece.is_empty() && piece.len() <= max.max(1),
            "{offset} {max}"
        );
        assert!(
            piece == content[offset..offset + piece.len()],
            "{offset} {max}"
        );
    }
    for offset in [600_000, 600_001, u64::MAX] {
        assert!(
            reader
                .read_at(offset, 10)
                .await
                .expect("past the end is no error")
                .is_empty()
        );
    }
}

async fn stored_bytes_are_hashed_piece_by_piece(place: &mut Place) {
    for size in [0, 1, 4096, 700_001, 2 * MIB, 2 * MIB + 5] {
        let content = sample(60 + size as u64, size);
        let key = place.push(&content).await;
        let reader = place.store().open(&key).await.expect("it is there");
        for piece in [MIB as u64, 1000, u64::MAX] {
            let mut hasher = Hasher::new(Algorithm::Sha256);
            let mut offset = 0;
            loop {
                let (next, hashed) = reader
                    .hash_at(offset, piece, hasher)
                    .await
                    .expect("it can be read");
                hasher = next;
                if hashed == 0 {
                    break;
                }
                offset += hashed;
            }
            assert_eq!(offset, size as u64, "{size} bytes, {piece} at a time");
            assert_eq!(hasher.finish(), sha256(&content), "{size}, {piece}");
        }
    }
}

async fn unknown_things_are_named(place: &mut Place) {
    let key = StorageKey::canonical(&sha256(b"never stored"));
    place.absent(&key).await;
}

async fn unknown_uploads_are_named(place: &mut Place) {
    let id = place.upload();
    let resumed = place
        .store()
        .resume_upload(id, None, Algorithm::Sha256)
        .await
        .map(drop);
    assert!(
        matches!(resumed, Err(Error::UploadUnknown(named)) if named == id),
        "{resumed:?}"
    );
}

async fn aborting_forgets_and_can_be_repeated(place: &mut Place) {
    let id = place.begun().await;
    place.append(id, None, b"content").await;
    let key = StorageKey::canonical(&sha256(b"content"));
    for _ in 0..2 {
        place
            .store()
            .abort_upload(id)
            .await
            .expect("aborting twice is no error");
        let resumed = place
            .store()
            .resume_upload(id, None, Algorithm::Sha256)
            .await
            .map(drop);
        assert!(
            matches!(resumed, Err(Error::UploadUnknown(_))),
            "{resumed:?}"
        );
    }

    let id = place.begun().await;
    let mut writer = place
        .store()
        .resume_upload(id, None, Algorithm::Sha256)
        .await
        .expect("the upload resumes");
    place
        .store()
        .abort_upload(id)
        .await
        .expect("an upload is aborted while it is written");
    // The writer may notice or not; what counts is that nothing can be committed.
    let _ = writer.write(Bytes::from_static(b"content")).await;
    let committed = writer.commit(&key).await;
    assert!(committed.is_err());
    place.absent(&key).await;
}

async fn deleting_can_be_repeated(place: &mut Place) {
    let contents = [sample(10, 10), sample(11, 400_000), sample(12, 0)];
    let mut keys = Vec::new();
    for content in &contents {
        keys.push(place.push(content).await);
    }
    let reader = place
        .store()
        .open(&keys[1])
        .await
        .expect("the object opens");
    let never = StorageKey::canonical(&sha256(b"never stored either"));
    for _ in 0..2 {
        let with_unknown = [keys[0].clone(), never.clone(), keys[1].clone()];
        place
            .store()
            .delete(&with_unknown)
            .await
            .expect("objects are deleted, absent ones too");
        place.absent(&keys[0]).await;
        place.absent(&keys[1]).await;
        assert_eq!(place.content(&keys[2]).await, contents[2]);
    }
    place.still_reads(&*reader, &contents[1]).await;
    place.store().delete(&[]).await.expect("nothing is deleted");
    assert_eq!(
        place.push(&contents[0]).await,
        keys[0],
        "a deleted content can be pushed again"
    );
    assert_eq!(place.content(&keys[0]).await, contents[0]);
}

async fn small_objects_are_put_whole(
    place: &mut Place,
    open: &impl AsyncFn() -> Arc<dyn BlobStore>,
) {
    let key = |name: &str| -> StorageKey { name.parse().expect("a key") };
    let object = |name: &str, content: &'static [u8]| (key(name), Bytes::from_static(content));
    let store = place.store();
    store.put(Vec::new()).await.expect("nothing is written");
    let few = vec![object("put/a/link", b"one"), object("put/empty", b"")];
    store.put(few).await.expect("objects are written");
    let reader = store.open(&key("put/a/link")).await.expect("it opens");
    // Enough that a driver may take another way, some of them there already, one twice.
    let mut many: Vec<_> = (0..40)
        .map(|number| object(&format!("put/many/{number}/data"), b"many"))
        .collect();
    many.push(object("put/a/link", b"another"));
    many.push(object("put/many/7/data", b"the last one counts"));
    store.put(many).await.expect("many objects are written");
    place.still_reads(&*reader, b"one").await;
    drop(reader);
    let large = (
        key("put/large"),
        Bytes::from(vec![0; crate::PUT_OBJECT_BYTES_MAX + 1]),
    );
    let refused = store.put(vec![object("put/beside", b"x"), large]).await;
    assert!(
        matches!(refused, Err(Error::TooLarge { .. })),
        "{refused:?}"
    );
    place.absent(&key("put/beside")).await;
    place.absent(&key("put/large")).await;

    // A digest's directory comes and goes with its objects; putting makes it again.
    let content = sample(15, 1000);
    let canonical = StorageKey::canonical(&sha256(&content));
    for _ in 0..2 {
        let whole = vec![(canonical.clone(), Bytes::from(content.clone()))];
        place.store().put(whole).await.expect("a blob is put");
        assert_eq!(place.content(&canonical).await, content);
        let keys = [canonical.clone()];
        place.store().delete(&keys).await.expect("it is deleted");
        place.absent(&canonical).await;
    }
    place.reopen(open).await;
    for (name, content) in [
        ("put/a/link", &b"another"[..]),
        ("put/empty", b""),
        ("put/many/39/data", b"many"),
        ("put/many/7/data", b"the last one counts"),
    ] {
        assert_eq!(place.content(&key(name)).await, content, "{name}");
    }
}

async fn an_object_gets_a_second_key(
    place: &mut Place,
    open: &impl AsyncFn() -> Arc<dyn BlobStore>,
) {
    let content = sample(16, 200_000);
    let canonical = StorageKey::canonical(&sha256(&content));
    let beside = StorageKey::incarnation(&sha256(&content), place.mark());
    let linked = place.store().link(&beside, &canonical).await;
    assert!(matches!(linked, Err(Error::NotFound(_))), "{linked:?}");
    place.absent(&canonical).await;
    let id = place.begun().await;
    let saved = place.append(id, None, &content).await;
    place.commit(id, Some(saved), &beside).await;
    for _ in 0..2 {
        let linked = place.store().link(&beside, &canonical).await;
        linked.expect("the object gets a second key");
        place.reopen(open).await;
        assert_eq!(place.content(&canonical).await, content);
    }
    let deleted = place.store().delete(std::slice::from_ref(&beside)).await;
    deleted.expect("the first key is deleted");
    place.absent(&beside).await;
    assert_eq!(place.content(&canonical).await, content);
}

async fn staged_uploads_are_listed(place: &mut Place, open: &impl AsyncFn() -> Arc<dyn BlobStore>) {
    let (suspended, committed) = (place.begun().await, place.begun().await);
    place.append(suspended, None, b"some").await;
    let key = StorageKey::canonical(&sha256(b""));
    assert_eq!(place.commit(committed, None, &key).await, sha256(b""));
    for _ in 0..2 {
        let staged = place
            .store()
            .staged_uploads()
            .await
            .expect("uploads are listed");
        let listed = |id| staged.iter().filter(|staged| **staged == id).count();
        assert_eq!((listed(suspended), listed(committed)), (1, 0));
        place.reopen(open).await;
    }
}

async fn small_contents_are_read_whole(place: &mut Place) {
    for size in [0, 1, 71, 100_000] {
        let content = sample(15, size);
        let key = place.push(&content).await;
        let size = size as u64;
        let store = place.store();
        let read = store.get(&key, size).await;
        assert!(read.expect("an object of the limit's size is read") == content);
        if size > 0 {
            let read = store.get(&key, size - 1).await;
            assert!(
                matches!(&read, Err(Error::TooLarge { max, .. }) if *max == size - 1),
                "{read:?}"
            );
        }
        store
            .delete(std::slice::from_ref(&key))
            .await
            .expect("the object is deleted");
        let read = store.get(&key, 1).await;
        assert!(matches!(read, Err(Error::NotFound(_))), "{read:?}");
    }
}

async fn objects_are_listed(place: &mut Place) {
    let key = |name: &str| -> StorageKey { format!("listed/{name}").parse().expect("a key") };
    let directory: StorageKey = "listed".parse().expect("a key");
    assert_eq!(place.listed(&directory).await, Vec::new());
    assert_eq!(place.children(&directory).await, Vec::<String>::new());

    let mut expected = Vec::new();
    let names = ["a/b/data", "a/B", "a0", "a.b/c", "A_b-c", "z/z/z/z"];
    let many = (0..LISTED_AT_ONCE + 10).map(|number| format!("many/{number}/x"));
    for name in names.map(str::to_owned).into_iter().chain(many) {
        let content = sample(16, expected.len() % 50);
        place.push_as(&content, &key(&name)).await;
        expected.push((key(&name), content.len() as u64));
    }
    expected.sort();
    assert_eq!(place.listed(&directory).await, expected);
    let below = ["A_b-c", "a.b/", "a/", "a0", "many/", "z/"];
    assert_eq!(place.children(&directory).await, below);
    assert_eq!(
        place.children(&key("many")).await.len(),
        LISTED_AT_ONCE + 10
    );
    assert_eq!(place.listed(&key("a/b")).await, [(key("a/b/data"), 0)]);
    let keys: Vec<StorageKey> = expected.into_iter().map(|(key, _)| key).collect();
    place
        .store()
        .delete(&keys)
        .await
        .expect("objects are deleted");
    assert_eq!(place.listed(&directory).await, Vec::new());
}

async fn large_contents_pass(place: &mut Place, open: &impl AsyncFn() -> Arc<dyn BlobStore>) {
    let block = Bytes::from(sample(13, MIB));
    for mib in [5_u64, 70] {
        let id = place.begun().await;
        let mut expected = Hasher::new(Algorithm::Sha256);
        let mut writer = place
            .store()
            .resume_upload(id, None, Algorithm::Sha256)
            .await
            .expect("the upload resumes");
        for number in 0..mib {
            let head = Bytes::copy_from_slice(&number.to_le_bytes());
            for piece in [head, block.slice(8..)] {
                expected.update(&piece);
                writer.write(piece).await.expect("bytes are taken");
            }
        }
        let digest = expected.finish();
        assert_eq!(writer.offset(), mib * MIB as u64);
        let hashed = writer.digest(Algorithm::Sha256).await;
        assert_eq!(hashed.expect("the upload is hashed"), digest);
        let key = StorageKey::canonical(&digest);
        writer.commit(&key).await.expect("the upload is committed");
        place.reopen(open).await;

        let reader = place.store().open(&key).await.expect("the object opens");
        assert_eq!(reader.size(), mib * MIB as u64);
        let mut found = Hasher::new(Algorithm::Sha256);
        let mut offset = 0;
        while offset < reader.size() {
            let piece = reader
                .read_at(offset, usize::MAX)
                .await
                .expect("the object reads");
            found.update(&piece);
            offset += piece.len() as u64;
        }
        assert_eq!(found.finish(), digest);
        drop(reader);
        place
            .store()
            .delete(&[key])
            .await
            .expect("the object is deleted");
    }
}
