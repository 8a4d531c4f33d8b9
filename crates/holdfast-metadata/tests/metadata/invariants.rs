//! What the schema itself refuses, and what is left for garbage collection.

use holdfast_metadata::{Linked, PutManifest};

use crate::fixture::*;

on_every_database!(
    the_chain_from_manifest_to_blob_cannot_be_broken,
    a_used_link_is_marked,
    a_blob_that_came_late_moves_to_its_manifest,
    a_deletion_queues_everything_it_may_have_freed,
    a_referrer_without_subject_is_looked_at_later,
    tags_remember_where_they_pointed,
    a_surplus_key_and_a_cancelled_upload_go_to_the_outbox,
    a_doomed_blob_comes_back_under_a_new_key_only,
    a_look_renews_an_unused_lease_in_its_second_half,
);

/// An image with one layer, an index over it, and a signature of it.
async fn stock(db: &Database) {
    db.link("a", digest(1)).await;
    let mut image = tagged(manifest("a", 100), &["v1"]);
    image.blobs = vec![layer(digest(1)), layer(digest(1))];
    db.put(image).await;
    let mut index = tagged(manifest("a", 101), &["all"]);
    index.children = vec![child(digest(100))];
    db.put(index).await;
    db.put(signature(102, 100)).await;
}

fn signature(number: u64, subject: u64) -> PutManifest {
    let mut signature = manifest("a", number);
    signature.subject = Some(digest(subject));
    signature
}

async fn the_chain_from_manifest_to_blob_cannot_be_broken(db: &Database) {
    stock(db).await;
    for forbidden in [
        "DELETE FROM repo_blobs",
        "DELETE FROM blobs",
        "DELETE FROM manifests WHERE digest = (SELECT digest FROM manifests ORDER BY digest LIMIT 1)",
        "DELETE FROM repositories",
        "DELETE FROM namespaces",
        "UPDATE blobs SET digest = x'01'",
        "INSERT INTO repo_blobs VALUES (1, x'01', 0, 0)",
        "INSERT INTO manifest_blobs SELECT repo_id, manifest_id, 9, x'01', '', 0 FROM manifest_blobs LIMIT 1",
    ] {
        let refused = db.try_execute(forbidden).unwrap_err();
        assert!(refused.contains("constraint"), "{forbidden}: {refused}");
    }
}

#[tokio::test]
async fn strict_tables_take_no_text_for_bytes() {
    let db = Database::file().await;
    let text = "INSERT INTO blobs VALUES ('text', 1, 0, 'k', 0, 0, 0)";
    let refused = db.try_execute(text).unwrap_err();
    assert!(refused.contains("cannot store"), "{refused}");
    assert_eq!(db.count("pragma_foreign_key_check"), 0);
}

async fn a_used_link_is_marked(db: &Database) {
    stock(db).await;
    assert_eq!(db.count("repo_blobs WHERE used = 1"), 1);
    db.link("a", digest(2)).await;
    assert_eq!(db.count("repo_blobs WHERE used = 0"), 1);
}

async fn a_blob_that_came_late_moves_to_its_manifest(db: &Database) {
    let mut image = manifest("a", 100);
    image.blobs = vec![layer(digest(1)), layer(digest(2))];
    image
        .blobs
        .iter_mut()
        .for_each(|blob| blob.required = false);
    db.put(image).await;
    assert_eq!(
        (
            db.count("manifest_missing_blobs"),
            db.count("manifest_blobs")
        ),
        (2, 0)
    );
    db.link("a", digest(1)).await;
    assert_eq!(
        (
            db.count("manifest_missing_blobs"),
            db.count("manifest_blobs")
        ),
        (1, 1)
    );
    db.link("b", digest(2)).await;
    assert_eq!(
        db.count("manifest_missing_blobs"),
        1,
        "another repository's blob does not count"
    );
    db.metadata
        .mount_blob(&name("b"), &name("a"), &digest(2), NOW)
        .await
        .unwrap();
    assert_eq!(
        (
            db.count("manifest_missing_blobs"),
            db.count("repo_blobs WHERE used = 1")
        ),
        (0, 2)
    );
    db.metadata
        .delete_manifest(&name("a"), &digest(100), NOW)
        .await
        .unwrap();
    assert_eq!(
        (db.count("manifest_blobs"), db.count("gc_link_queue")),
        (0, 2)
    );
}

async fn a_deletion_queues_everything_it_may_have_freed(db: &Database) {
    stock(db).await;
    assert_eq!(db.count("gc_manifest_queue"), 0);
    db.metadata
        .delete_manifest(&name("a"), &digest(100), NOW)
        .await
        .unwrap();
    let due = |hours| later(hours).as_micros();
    assert_eq!(
        db.count(&format!("gc_link_queue WHERE due_at = {}", due(0))),
        1
    );
    assert_eq!(
        db.count(&format!(
            "gc_manifest_queue WHERE reason = 1 AND due_at = {}",
            due(24)
        )),
        1
    );
    assert_eq!(
        db.count(&format!(
            "manifest_trash WHERE purge_at = {} AND payload = CAST('100' AS BLOB)",
            due(24)
        )),
        1
    );
    db.metadata
        .delete_manifest(&name("a"), &digest(101), NOW)
        .await
        .unwrap();
    assert_eq!(db.count("gc_manifest_queue WHERE reason = 0"), 1);
    assert_eq!(
        db.count("tag_history WHERE reason = 1 AND new_digest IS NULL"),
        2
    );

    db.metadata
        .unlink_blob(&name("a"), &digest(1), later(1))
        .await
        .unwrap();
    assert_eq!(
        db.count(&format!("gc_blob_queue WHERE due_at = {}", due(1))),
        1
    );
    db.put(manifest("a", 100)).await;
    assert_eq!(
        db.count("manifest_trash"),
        1,
        "what came back left the trash"
    );
}

async fn a_referrer_without_subject_is_looked_at_later(db: &Database) {
    db.put(signature(102, 100)).await;
    assert_eq!(db.count("gc_manifest_queue WHERE reason = 2"), 1);
}

async fn tags_remember_where_they_pointed(db: &Database) {
    for number in [100, 101, 101, 100] {
        db.put(tagged(manifest("a", number), &["v1"])).await;
    }
    db.metadata
        .delete_tag(&name("a"), &tag("v1"), NOW)
        .await
        .unwrap();
    assert_eq!(
        db.count("tag_history"),
        4,
        "pushing what is there is no change"
    );
    assert_eq!(db.count("tag_history WHERE old_digest IS NULL"), 1);
}

async fn a_surplus_key_and_a_cancelled_upload_go_to_the_outbox(db: &Database) {
    db.metadata
        .link_blob(blob("a", digest(1), "k1"))
        .await
        .unwrap();
    db.metadata
        .link_blob(blob("a", digest(1), "k2"))
        .await
        .unwrap();
    db.metadata
        .link_blob(blob("a", digest(1), "k1"))
        .await
        .unwrap();
    db.metadata.create_upload(upload("a", 7)).await.unwrap();
    db.metadata
        .delete_upload(&name("a"), upload_id(7), NOW)
        .await
        .unwrap();
    assert_eq!(db.count("gc_object_outbox"), 2);
    assert_eq!(
        db.count("gc_object_outbox WHERE storage_key IN ('k2', 'uploads/7')"),
        2
    );
}

async fn a_doomed_blob_comes_back_under_a_new_key_only(db: &Database) {
    db.metadata
        .link_blob(blob("a", digest(1), "k1"))
        .await
        .unwrap();
    db.metadata
        .unlink_blob(&name("a"), &digest(1), NOW)
        .await
        .unwrap();
    // What the collector does (steps 8 and 9).
    db.execute("UPDATE blobs SET state = 1; INSERT INTO gc_object_outbox (storage_key, not_before) VALUES ('k1', 0)");
    assert!(!db.metadata.key_is_free("k1", &digest(1)).await.unwrap());
    assert_eq!(
        db.metadata
            .link_blob(blob("a", digest(1), "k1"))
            .await
            .unwrap(),
        Linked::KeyTaken
    );
    db.execute("DELETE FROM gc_object_outbox");
    assert!(
        !db.metadata.key_is_free("k1", &digest(1)).await.unwrap(),
        "its row is not purged yet"
    );
    assert_eq!(
        db.metadata
            .link_blob(blob("a", digest(1), "k1"))
            .await
            .unwrap(),
        Linked::KeyTaken
    );
    assert_eq!(
        db.metadata.blob(&name("a"), &digest(1), NOW).await.unwrap(),
        None
    );
    assert_eq!(
        db.metadata
            .link_blob(blob("a", digest(1), "k2"))
            .await
            .unwrap(),
        Linked::Stored
    );
    let found = db.metadata.blob(&name("a"), &digest(1), NOW).await.unwrap();
    assert_eq!(&*found.unwrap().storage_key, "k2");
}

async fn a_look_renews_an_unused_lease_in_its_second_half(db: &Database) {
    // A look does not wait for the renewal that it sets off.
    let lease_is = async |wanted: i64| {
        let started = std::time::Instant::now();
        while db.number("SELECT lease_until FROM repo_blobs") != later(wanted).as_micros() {
            assert!(started.elapsed().as_secs() < 30, "no lease of {wanted} h");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    let look = async |hours| {
        db.metadata
            .blob(&name("a"), &digest(1), later(hours))
            .await
            .unwrap()
            .is_some()
    };
    db.link("a", digest(1)).await;
    for (hours, wanted) in [(1, 24), (12, 24), (13, 37), (14, 37), (90, 114)] {
        assert!(look(hours).await);
        lease_is(wanted).await;
    }
    let mut image = manifest("a", 100);
    image.blobs = vec![layer(digest(1))];
    db.put(image).await;
    assert!(look(500).await);
    // A used link needs none.
    lease_is(114).await;
}
