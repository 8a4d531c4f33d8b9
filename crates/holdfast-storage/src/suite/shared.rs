//! What a store promises that many nodes share: uploads go on from their record, wherever, and leave nothing behind.

use std::sync::Arc;

use bytes::Bytes;
use holdfast_model::{Algorithm, Hasher, UploadId};

use super::place::{Place, sample, sha256};
use crate::{BlobStore, Leftovers, Progress, StorageKey, UploadWriter};

const MIB: usize = 1024 * 1024;

pub(super) async fn run(place: &mut Place, open: &impl AsyncFn() -> Arc<dyn BlobStore>) {
    an_upload_goes_on_on_another_node(place, open).await;
    what_the_record_does_not_name_does_not_count(place, open).await;
    a_commit_that_came_to_nothing_goes_on(place).await;
    a_commit_that_was_not_recorded_goes_on(place).await;
    another_algorithm_is_hashed_over_parts(place).await;
    two_nodes_at_one_upload_do_not_mix(place).await;
    ending_an_upload_leaves_nothing(place).await;
}

impl Place {
    async fn writer(&self, id: UploadId, saved: Option<Progress>) -> Box<dyn UploadWriter> {
        let resumed = self
            .store()
            .resume_upload(id, saved, Algorithm::Sha256)
            .await;
        resumed.expect("the upload resumes")
    }

    /// Commits where it is cheapest.
    async fn commit_own(&self, id: UploadId, saved: Progress) -> (StorageKey, Progress) {
        let mut writer = self.writer(id, Some(saved)).await;
        let digest = writer.digest(Algorithm::Sha256).await;
        digest.expect("the upload is hashed");
        let key = writer.own_key().expect("a shared store chooses a key");
        let committed = writer.commit(&key).await;
        let committed = committed.expect("the upload is committed");
        let committed = committed.expect("a shared store says how to go on");
        let deleted = match self.store().leftovers(&committed) {
            Leftovers::Objects(left) => self.store().delete(&left).await,
            Leftovers::Unknown => self.store().delete_rest(&key).await,
        };
        deleted.expect("what is left of the upload is deleted");
        (key, committed)
    }

    /// Objects of this upload.
    async fn objects_of(&self, id: UploadId) -> Vec<StorageKey> {
        let listed = self.listed(&StorageKey::uploads()).await;
        let ours = StorageKey::uploaded_prefix(id);
        let keys = listed.into_iter().map(|(key, _)| key);
        keys.filter(|key| key.as_str().starts_with(&ours)).collect()
    }
}

async fn an_upload_goes_on_on_another_node(
    place: &mut Place,
    open: &impl AsyncFn() -> Arc<dyn BlobStore>,
) {
    let content = sample(70, 33 * MIB + 77);
    let small = [1000, 1, 0, 70_000];
    let grows = [3 * MIB, 3 * MIB, 7 * MIB, 100, 10 * MIB, 1, 5 * MIB, 2];
    let large = [11 * MIB, 0, 5 * MIB, 5 * MIB + 1, MIB];
    for cuts in [&small[..], &grows[..], &large[..], &[20 * MIB][..], &[][..]] {
        let id = place.begun().await;
        let mut saved = Progress::new(0, Hasher::new(Algorithm::Sha256));
        let mut offset = 0;
        for length in cuts {
            place.reopen(open).await;
            let piece = &content[offset..offset + length];
            saved = place.append(id, Some(saved), piece).await;
            offset += length;
        }
        let expected = &content[..offset];
        assert_eq!(saved.hasher.clone().finish(), sha256(expected));
        place.reopen(open).await;
        let (key, _) = place.commit_own(id, saved).await;
        assert!(place.content(&key).await == expected, "{cuts:?}");
        let reader = place.store().open(&key).await.expect("the object opens");
        reader.expect(1..3);
        if offset > 3 {
            let some = reader.read_at(1, 100).await.expect("the object reads");
            assert!(expected[1..].starts_with(&some));
        }
        assert_eq!(place.objects_of(id).await, [key], "{cuts:?}");
    }
}

async fn what_the_record_does_not_name_does_not_count(
    place: &mut Place,
    open: &impl AsyncFn() -> Arc<dyn BlobStore>,
) {
    let content = sample(71, 40 * MIB);
    for (recorded, lost) in [
        (0, 1000),
        (1000, 1000),
        (2000, 12 * MIB),
        (12 * MIB, 100),
        (12 * MIB, 12 * MIB),
    ] {
        let id = place.begun().await;
        let mut saved = place.append(id, None, &content[..recorded]).await;
        // Two nodes that are killed when they have stored everything, before they record it.
        let mut writer = place.writer(id, Some(saved.clone())).await;
        for piece in content[MIB..MIB + lost].chunks(100_000) {
            let piece = Bytes::copy_from_slice(piece);
            writer.write(piece).await.expect("bytes are taken");
        }
        writer.suspend().await.expect("the upload is suspended");
        let other = &content[2 * MIB..2 * MIB + lost];
        place.append(id, Some(saved.clone()), other).await;
        place.reopen(open).await;

        saved.doubtful = true;
        let saved = place.append(id, Some(saved), &content[recorded..]).await;
        assert!(saved.doubtful, "a doubt lasts as long as the upload");
        let (key, _) = place.commit_own(id, saved).await;
        assert!(place.content(&key).await == content, "{recorded} {lost}");
        assert_eq!(place.objects_of(id).await, [key], "{recorded} {lost}");
    }
}

async fn a_commit_that_came_to_nothing_goes_on(place: &mut Place) {
    let content = sample(72, 30 * MIB);
    for first in [0, 1000, 13 * MIB] {
        let id = place.begun().await;
        let saved = place.append(id, None, &content[..first]).await;
        let (_, saved) = place.commit_own(id, saved).await;
        let (key, saved) = place.commit_own(id, saved).await;
        assert!(place.content(&key).await == content[..first]);
        let saved = place.append(id, Some(saved), &content[first..]).await;
        let (key, _) = place.commit_own(id, saved).await;
        assert!(place.content(&key).await == content, "{first}");
        assert_eq!(place.objects_of(id).await, [key], "{first}");
    }
}

/// The node dies between the commit and its record, or the deletion of what was left and its record.
async fn a_commit_that_was_not_recorded_goes_on(place: &mut Place) {
    let content = sample(76, 30 * MIB);
    for (first, second) in [
        (0, 1000),
        (1000, 1000),
        (1000, 12 * MIB),
        (12 * MIB, 0),
        (13 * MIB, 0),
        (12 * MIB, 100),
        (12 * MIB, 12 * MIB),
    ] {
        for further in [first + second, content.len()] {
            let id = place.begun().await;
            let mut saved = place.append(id, None, &content[..first]).await;
            let mut writer = place.writer(id, Some(saved.clone())).await;
            for piece in content[first..first + second].chunks(100_000) {
                let piece = Bytes::copy_from_slice(piece);
                writer.write(piece).await.expect("bytes are taken");
            }
            let lost = writer.own_key().expect("a shared store chooses a key");
            writer.commit(&lost).await.expect("the upload is committed");
            // A request that brings no bytes is not marked.
            saved.doubtful = second > 0;
            if first < further {
                saved.doubtful = true;
                saved = place
                    .append(id, Some(saved), &content[first..further])
                    .await;
            }
            let (key, _) = place.commit_own(id, saved).await;
            let expected = &content[..further];
            assert!(place.content(&key).await == expected, "{first} {second}");
            assert_eq!(place.objects_of(id).await, [key], "{first} {second}");
        }
    }
}

async fn another_algorithm_is_hashed_over_parts(place: &mut Place) {
    let content = sample(73, 14 * MIB);
    let id = place.begun().await;
    let saved = place.append(id, None, &content[..12 * MIB]).await;
    let mut writer = place.writer(id, Some(saved)).await;
    for part in [&content[12 * MIB..13 * MIB], &content[13 * MIB..]] {
        let part = Bytes::copy_from_slice(part);
        writer.write(part).await.expect("bytes are taken");
        let length = usize::try_from(writer.offset()).expect("it fits");
        let digest = writer.digest(Algorithm::Sha512).await;
        let expected = Hasher::digest(Algorithm::Sha512, &content[..length]);
        assert_eq!(digest.expect("it is hashed"), expected);
    }
    let saved = writer.suspend().await.expect("the upload is suspended");
    let (key, _) = place.commit_own(id, saved).await;
    assert!(place.content(&key).await == content);
    assert_eq!(place.objects_of(id).await, [key]);
}

async fn two_nodes_at_one_upload_do_not_mix(place: &mut Place) {
    let content = sample(74, 30 * MIB);
    for (first, second) in [(1000, 1000), (1000, 12 * MIB), (12 * MIB, 100)] {
        let id = place.begun().await;
        let saved = place.append(id, None, &content[..first]).await;
        let ends = [&content[first..first + second], &content[MIB..MIB + second]];
        let one = place.append(id, Some(saved.clone()), ends[0]).await;
        let two = place.append(id, Some(saved), ends[1]).await;
        let expected = [one.hasher.clone().finish(), two.hasher.clone().finish()];
        let (key, _) = place.commit_own(id, one).await;
        let kept = place.content(&key).await;
        assert_eq!(sha256(&kept), expected[0], "{first} {second}");
        // The late one may fail, or come to its own; it never changes the other.
        let mut late = place.writer(id, Some(two)).await;
        if late.digest(Algorithm::Sha256).await.is_ok() {
            let own = late.own_key().expect("a shared store chooses a key");
            let committed = late.commit(&own).await;
            if own != key && committed.is_ok() {
                assert_eq!(sha256(&place.content(&own).await), expected[1]);
            }
        }
        assert!(place.content(&key).await == kept, "{first} {second}");
        let aborted = place.store().abort_upload(id).await;
        aborted.expect("the upload is aborted");
    }
}

async fn ending_an_upload_leaves_nothing(place: &mut Place) {
    let content = sample(75, 20 * MIB);
    for (first, second) in [
        (0, 0),
        (0, 10),
        (10, 0),
        (10, 10),
        (12 * MIB, 0),
        (10, 12 * MIB),
    ] {
        for known in [true, false] {
            let id = place.begun().await;
            let saved = place.append(id, None, &content[..first]).await;
            let mut writer = place.writer(id, Some(saved)).await;
            for piece in content[..second].chunks(100_000) {
                let piece = Bytes::copy_from_slice(piece);
                writer.write(piece).await.expect("bytes are taken");
            }
            if known {
                let discarded = writer.discard().await;
                assert!(discarded.expect("the upload is discarded"));
            } else {
                writer.suspend().await.expect("the upload is suspended");
                for _ in 0..2 {
                    let aborted = place.store().abort_upload(id).await;
                    aborted.expect("the upload is aborted");
                }
            }
            assert_eq!(place.objects_of(id).await, [], "{first} {second} {known}");
        }
    }
}
