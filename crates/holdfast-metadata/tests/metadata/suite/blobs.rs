//! Blobs and their links.

use holdfast_metadata::{Linked, PutOutcome, Unlinked};

use super::on_every_engine;
use crate::fixture::*;

on_every_engine!(
    linking_stores_a_blob_and_ends_its_session,
    a_second_upload_of_a_blob_is_surplus,
    stored_content_is_linked_without_its_bytes,
    a_discarded_key_is_never_live_again,
    a_blob_is_seen_only_through_its_own_repository,
    a_blob_is_mounted_from_a_repository_that_has_it,
    a_blob_in_use_cannot_be_removed,
    a_lease_that_ended_is_renewed_by_a_look,
    a_damaged_blob_is_absent_for_pushers_and_healed_by_a_push,
    blobs_that_were_not_read_for_longest_come_first,
);

async fn linking_stores_a_blob_and_ends_its_session(db: &Database) {
    db.metadata.create_upload(upload("a/b", 1)).await.unwrap();
    let free = db.metadata.key_is_free("k1", &digest(1)).await.unwrap();
    assert_eq!(free, !db.metadata.is_shared());
    let mut finished = blob("a/b", digest(1), "k1");
    finished.upload = Some((upload_id(1), 0));
    assert_eq!(
        db.metadata.link_blob(finished.clone()).await.unwrap(),
        Linked::Stored
    );
    assert_eq!(
        db.metadata
            .upload(&name("a/b"), upload_id(1))
            .await
            .unwrap(),
        None
    );
    let found = db
        .metadata
        .blob(&name("a/b"), &digest(1), NOW)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((found.size, &*found.storage_key), (10, "k1"));
    assert!(
        !db.metadata.key_is_free("other", &digest(1)).await.unwrap(),
        "the digest has bytes"
    );
    assert_eq!(
        db.metadata.link_blob(finished).await.unwrap(),
        Linked::SessionEnded,
        "a session ends once"
    );

    db.metadata.create_upload(upload("a/b", 2)).await.unwrap();
    assert!(db.metadata.doubt_upload(upload_id(2), 0).await.unwrap());
    let mut overtaken = blob("a/b", digest(2), "k2");
    overtaken.upload = Some((upload_id(2), 0));
    overtaken.leftovers = vec!["left".to_owned()];
    assert_eq!(
        db.metadata.link_blob(overtaken.clone()).await.unwrap(),
        Linked::SessionTaken,
        "another request has taken it over"
    );
    let discarded = async || db.metadata.due_objects(NOW, 10).await.unwrap().len();
    assert_eq!(discarded().await, 0, "it may need what is left");
    overtaken.upload = Some((upload_id(2), 1));
    assert_eq!(
        db.metadata.link_blob(overtaken).await.unwrap(),
        Linked::Stored
    );
    assert_eq!(discarded().await, 1, "what is left is the collector's");
}

async fn a_second_upload_of_a_blob_is_surplus(db: &Database) {
    db.metadata
        .link_blob(blob("a", digest(1), "k1"))
        .await
        .unwrap();
    let second = db
        .metadata
        .link_blob(blob("b", digest(1), "k2"))
        .await
        .unwrap();
    assert_eq!(
        second,
        Linked::Surplus {
            live_key: "k1".to_owned()
        }
    );
    let found = db
        .metadata
        .blob(&name("b"), &digest(1), NOW)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&*found.storage_key, "k1");
}

async fn stored_content_is_linked_without_its_bytes(db: &Database) {
    let link = async |repository, upload| {
        let metadata = &db.metadata;
        metadata
            .link_stored_blob(&name(repository), &digest(1), upload, false, NOW)
            .await
            .unwrap()
    };
    db.metadata.create_upload(upload("b", 1)).await.unwrap();
    assert!(db.metadata.content(&digest(1)).await.unwrap().is_none());
    assert_eq!(link("b", Some((upload_id(1), 0))).await, None);
    assert!(
        db.metadata
            .upload(&name("b"), upload_id(1))
            .await
            .unwrap()
            .is_some()
    );
    db.link("a", digest(1)).await;
    assert!(db.metadata.content(&digest(1)).await.unwrap().is_some());
    assert_eq!(
        db.metadata.blob(&name("b"), &digest(1), NOW).await.unwrap(),
        None
    );
    let linked = link("b", Some((upload_id(1), 0))).await.unwrap();
    assert_eq!((linked.size, linked.session_ended), (10, true));
    assert!(
        db.metadata
            .upload(&name("b"), upload_id(1))
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        db.metadata
            .blob(&name("b"), &digest(1), NOW)
            .await
            .unwrap()
            .is_some()
    );
}

async fn a_discarded_key_is_never_live_again(db: &Database) {
    db.metadata
        .link_blob(blob("a", digest(1), "k1"))
        .await
        .unwrap();
    db.metadata
        .link_blob(blob("a", digest(1), "k2"))
        .await
        .unwrap();
    assert!(!db.metadata.key_is_free("k2", &digest(2)).await.unwrap());
    assert_eq!(
        db.metadata
            .link_blob(blob("a", digest(2), "k2"))
            .await
            .unwrap(),
        Linked::KeyTaken
    );
    assert_eq!(
        db.metadata.blob(&name("a"), &digest(2), NOW).await.unwrap(),
        None
    );

    db.metadata.create_upload(upload("a", 7)).await.unwrap();
    db.metadata
        .delete_upload(&name("a"), upload_id(7), NOW)
        .await
        .unwrap();
    let cancelled = db
        .metadata
        .link_blob(blob("a", digest(2), "uploads/7"))
        .await
        .unwrap();
    assert_eq!(
        cancelled,
        Linked::KeyTaken,
        "a session that was cancelled while it finished"
    );
    assert!(stored(
        &db.metadata
            .link_blob(blob("a", digest(2), "k3"))
            .await
            .unwrap()
    ));
}

async fn a_blob_is_seen_only_through_its_own_repository(db: &Database) {
    db.link("a/b", digest(1)).await;
    for other in ["a", "a/b/c", "b"] {
        assert_eq!(
            db.metadata
                .blob(&name(other), &digest(1), NOW)
                .await
                .unwrap(),
            None
        );
    }
    assert!(
        db.metadata
            .blob(&name("a/b"), &digest(1), NOW)
            .await
            .unwrap()
            .is_some()
    );
}

async fn a_blob_is_mounted_from_a_repository_that_has_it(db: &Database) {
    db.link("a", digest(1)).await;
    let mount = |from: &'static str, to: &'static str, number| {
        let metadata = db.metadata.clone();
        async move {
            metadata
                .mount_blob(&name(from), &name(to), &digest(number), NOW)
                .await
                .unwrap()
        }
    };
    assert_eq!(mount("b", "c", 1).await, None);
    assert_eq!(mount("a", "c", 2).await, None);
    assert_eq!(mount("a", "b", 1).await, Some(10));
    assert_eq!(mount("a", "a", 1).await, Some(10));
    assert!(
        db.metadata
            .blob(&name("b"), &digest(1), NOW)
            .await
            .unwrap()
            .is_some()
    );
    let mut with = db
        .metadata
        .repositories_with_blob(&digest(1), 10)
        .await
        .unwrap();
    with.sort();
    assert_eq!(with, [name("a"), name("b")]);
    assert_eq!(
        db.metadata
            .repositories_with_blob(&digest(1), 1)
            .await
            .unwrap()
            .len(),
        1
    );
    assert!(
        db.metadata
            .repositories_with_blob(&digest(2), 1)
            .await
            .unwrap()
            .is_empty()
    );
}

async fn a_blob_in_use_cannot_be_removed(db: &Database) {
    let unlink = async |number| {
        db.metadata
            .unlink_blob(&name("a"), &digest(number), NOW)
            .await
            .unwrap()
    };
    assert_eq!(unlink(1).await, Unlinked::Unknown);
    db.link("a", digest(1)).await;
    for number in 100..115 {
        let mut user = manifest("a", number);
        user.blobs = vec![layer(digest(1)), layer(digest(1))];
        db.put(user).await;
    }
    let Unlinked::InUse { manifests } = unlink(1).await else {
        panic!("it is in use")
    };
    assert_eq!(manifests.len(), 10);
    assert!(
        db.metadata
            .blob(&name("a"), &digest(1), NOW)
            .await
            .unwrap()
            .is_some()
    );
    for number in 100..115 {
        db.metadata
            .delete_manifest(&name("a"), &digest(number), NOW)
            .await
            .unwrap();
    }
    assert_eq!(unlink(1).await, Unlinked::Removed);
    assert_eq!(
        db.metadata.blob(&name("a"), &digest(1), NOW).await.unwrap(),
        None
    );
    assert_eq!(unlink(1).await, Unlinked::Unknown);
}

async fn a_lease_that_ended_is_renewed_by_a_look(db: &Database) {
    db.link("a", digest(1)).await;
    for hours in [1, 13, 30, 300] {
        assert!(
            db.metadata
                .blob(&name("a"), &digest(1), later(hours))
                .await
                .unwrap()
                .is_some()
        );
    }
}

async fn a_damaged_blob_is_absent_for_pushers_and_healed_by_a_push(db: &Database) {
    db.link("a", digest(1)).await;
    let blob_of = async |repository| {
        let found = db.metadata.blob(&name(repository), &digest(1), NOW).await;
        found.unwrap().unwrap()
    };
    let key = blob_of("a").await.storage_key;
    db.metadata
        .mount_blob(&name("a"), &name("b"), &digest(1), NOW)
        .await
        .unwrap();
    let marked = db.metadata.mark_damaged(&digest(1), &key, NOW).await;
    assert!(marked.unwrap());
    assert!(blob_of("a").await.damaged && blob_of("b").await.damaged);
    assert_eq!(db.metadata.content(&digest(1)).await.unwrap(), None);
    let (from, to) = (name("a"), name("c"));
    let mounted = db.metadata.mount_blob(&from, &to, &digest(1), NOW).await;
    assert_eq!(mounted.unwrap(), None);
    let stored = db
        .metadata
        .link_stored_blob(&to, &digest(1), None, false, NOW)
        .await;
    assert_eq!(stored.unwrap(), None);
    let mut image = manifest("a", 100);
    image.blobs = vec![layer(digest(1))];
    let refused = db.metadata.put_manifest(image.clone()).await.unwrap();
    assert_eq!(
        refused,
        PutOutcome::Missing {
            blobs: vec![digest(1)],
            manifests: vec![]
        }
    );

    let again = db.metadata.link_blob(blob("c", digest(1), &key)).await;
    assert_eq!(again.unwrap(), Linked::KeyTaken, "a key serves once");
    let healed = db.metadata.link_blob(blob("c", digest(1), "new")).await;
    assert_eq!(
        healed.unwrap(),
        Linked::Healed {
            damaged_key: key.to_string()
        }
    );
    for repository in ["a", "b", "c"] {
        let found = blob_of(repository).await;
        assert_eq!((&*found.storage_key, found.damaged), ("new", false));
    }
    assert!(!db.metadata.key_is_free(&key, &digest(2)).await.unwrap());
    db.put(image).await;
}

async fn blobs_that_were_not_read_for_longest_come_first(db: &Database) {
    for (number, hours) in [(3, 0), (1, 1), (2, 2), (4, 9)] {
        let mut pushed = blob("a", digest(number), &format!("k{number}"));
        pushed.now = later(hours);
        db.metadata.link_blob(pushed).await.unwrap();
    }
    let stale = async || {
        let mut found = Vec::new();
        let mut after = None;
        // One by one: a page ends anywhere.
        loop {
            let page = db
                .metadata
                .stalest_blobs(after.as_ref(), later(5), 1)
                .await
                .unwrap();
            let Some(blob) = page.into_iter().next() else {
                return found;
            };
            found.push(blob.digest);
            after = Some(blob);
        }
    };
    assert_eq!(stale().await, [digest(3), digest(1), digest(2)]);
    let read = vec![
        (digest(3), "k3".to_owned()),
        (digest(1), "another key".to_owned()),
    ];
    db.metadata.blobs_verified(read, later(6)).await.unwrap();
    assert_eq!(stale().await, [digest(1), digest(2)]);
    db.metadata
        .mark_damaged(&digest(1), "k1", later(6))
        .await
        .unwrap();
    assert_eq!(stale().await, [digest(2)]);
}
