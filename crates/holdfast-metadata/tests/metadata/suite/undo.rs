//! Undoing: the history of tags, deleted manifests, and the way back.

use holdfast_metadata::{
    PutManifest, Restore, RestoreTag, Restored, TagChange, TagReason, Unlinked,
};
use holdfast_model::{Digest, MediaType};

use super::on_every_engine;
use crate::fixture::*;

on_every_engine!(
    the_history_of_a_tag_comes_in_pages_and_outlives_it,
    deleted_manifests_are_listed_in_pages,
    a_tag_goes_back_to_a_stored_manifest,
    a_tag_brings_its_manifest_back,
    a_decision_by_an_old_line_is_not_carried_out,
    a_restored_manifest_holds_its_blobs_again,
    an_unlinked_blob_is_linked_again_while_it_is_stored,
    content_that_is_gone_is_named_and_nothing_changes,
    an_index_comes_back_with_its_children,
    what_a_manifest_never_had_is_not_linked,
);

fn restore(manifests: Vec<PutManifest>) -> Restore {
    Restore {
        repository: name("a"),
        manifests,
        tag: None,
        now: later(2),
    }
}

fn to(text: &str, number: u64) -> Restore {
    Restore {
        tag: Some(RestoreTag {
            tag: tag(text),
            to: digest(number),
            newest: None,
        }),
        ..restore(vec![])
    }
}

fn done(numbers: &[u64], old: Option<u64>) -> Restored {
    Restored::Done {
        manifests: digests(numbers),
        old: old.map(digest),
    }
}

fn digests(numbers: &[u64]) -> Vec<Digest> {
    numbers.iter().map(|number| digest(*number)).collect()
}

fn image(number: u64, blobs: &[u64]) -> PutManifest {
    PutManifest {
        blobs: blobs.iter().map(|blob| layer(digest(*blob))).collect(),
        ..manifest("a", number)
    }
}

fn index(number: u64, children: &[u64]) -> PutManifest {
    PutManifest {
        children: children
            .iter()
            .map(|number| child(digest(*number)))
            .collect(),
        media_type: MediaType::OCI_INDEX,
        ..manifest("a", number)
    }
}

async fn delete(db: &Database, number: u64) {
    let deleted = db
        .metadata
        .delete_manifest(&name("a"), &digest(number), later(1))
        .await
        .unwrap();
    assert!(deleted.is_some(), "manifest {number}");
}

async fn history(db: &Database, text: &str) -> Vec<TagChange> {
    let lines = db
        .metadata
        .tag_history(&name("a"), &tag(text), None, 100)
        .await
        .unwrap();
    lines.unwrap()
}

/// Old target, new target and reason of each line, the newest first.
async fn changes(db: &Database, text: &str) -> Vec<(Option<Digest>, Option<Digest>, TagReason)> {
    let lines = history(db, text).await;
    let change = |line: TagChange| (line.old, line.new, line.reason);
    lines.into_iter().map(change).collect()
}

async fn the_history_of_a_tag_comes_in_pages_and_outlives_it(db: &Database) {
    let page = async |before, limit| {
        db.metadata
            .tag_history(&name("a"), &tag("v1"), before, limit)
            .await
            .unwrap()
    };
    assert_eq!(page(None, 10).await, None, "there is no such repository");
    for number in [100, 101, 101, 102] {
        db.put(tagged(manifest("a", number), &["v1"])).await;
    }
    db.put(tagged(manifest("a", 100), &["v2"])).await;
    assert!(
        db.metadata
            .delete_tag(&name("a"), &tag("v1"), later(1))
            .await
            .unwrap()
    );
    let wanted = [
        (Some(102), None, TagReason::Delete),
        (Some(101), Some(102), TagReason::Push),
        (Some(100), Some(101), TagReason::Push),
        (None, Some(100), TagReason::Push),
    ]
    .map(|(old, new, reason)| (old.map(digest), new.map(digest), reason));
    assert_eq!(
        changes(db, "v1").await,
        wanted,
        "a push of the same is no change"
    );
    let all = history(db, "v1").await;
    assert_eq!((all[0].at, all[1].at), (later(1), NOW));
    assert_eq!(page(None, 2).await.unwrap(), all[..2]);
    assert_eq!(page(Some(all[1].id), 2).await.unwrap(), all[2..]);
    assert_eq!(page(Some(all[3].id), 2).await.unwrap(), []);
    assert_eq!(history(db, "never").await, []);
    // The deletion of the manifest deletes its tags, and says so.
    delete(db, 100).await;
    assert_eq!(
        changes(db, "v2").await[0],
        (Some(digest(100)), None, TagReason::Delete)
    );
}

async fn deleted_manifests_are_listed_in_pages(db: &Database) {
    let page = async |after: Option<u64>, limit| {
        let after = after.map(digest);
        db.metadata
            .trash(&name("a"), after.as_ref(), limit)
            .await
            .unwrap()
    };
    assert_eq!(page(None, 10).await, None, "there is no such repository");
    for number in 100..105 {
        db.put(manifest("a", number)).await;
    }
    assert_eq!(page(None, 10).await.unwrap(), []);
    for number in [103, 101, 102] {
        delete(db, number).await;
    }
    let all = page(None, 10).await.unwrap();
    let listed: Vec<Digest> = all.iter().map(|one| one.digest).collect();
    assert_eq!(listed, digests(&[101, 102, 103]));
    assert_eq!(
        (
            all[0].media_type.clone(),
            all[0].size,
            all[0].deleted_at,
            all[0].purge_at
        ),
        (MediaType::OCI_MANIFEST, 3, later(1), later(25))
    );
    assert_eq!(page(None, 2).await.unwrap(), all[..2]);
    assert_eq!(page(Some(102), 2).await.unwrap(), all[2..]);
    let found = async |number| {
        let found = db
            .metadata
            .trashed_manifest(&name("a"), &digest(number))
            .await
            .unwrap();
        found.map(|manifest| manifest.payload)
    };
    assert_eq!(found(101).await.unwrap(), "101");
    assert_eq!(found(100).await, None, "it was not deleted");
    db.put(manifest("a", 101)).await;
    assert_eq!(found(101).await, None, "it was pushed again");
}

async fn a_tag_goes_back_to_a_stored_manifest(db: &Database) {
    for number in [100, 101] {
        db.put(tagged(manifest("a", number), &["v1"])).await;
    }
    assert_eq!(db.get("a", "v1").await.unwrap(), "101");
    let restored = db.metadata.restore(to("v1", 100)).await.unwrap();
    assert_eq!(restored, done(&[], Some(101)));
    assert_eq!(
        db.get("a", "v1").await.unwrap(),
        "100",
        "no cache remembers"
    );
    let newest = history(db, "v1").await[0].clone();
    assert_eq!(
        (newest.old, newest.new, newest.reason, newest.at),
        (
            Some(digest(101)),
            Some(digest(100)),
            TagReason::Restore,
            later(2)
        )
    );
    // Once more changes nothing.
    assert_eq!(
        db.metadata.restore(to("v1", 100)).await.unwrap(),
        done(&[], Some(100))
    );
    assert_eq!(history(db, "v1").await[0], newest);
    // A deleted tag.
    assert!(
        db.metadata
            .delete_tag(&name("a"), &tag("v1"), later(1))
            .await
            .unwrap()
    );
    assert_eq!(
        db.metadata.restore(to("v1", 101)).await.unwrap(),
        done(&[], None)
    );
    assert_eq!(db.get("a", "v1").await.unwrap(), "101");
    // What nobody has.
    assert_eq!(
        db.metadata.restore(to("v1", 9)).await.unwrap(),
        Restored::Changed
    );
    let mut elsewhere = to("v1", 100);
    elsewhere.repository = name("b");
    assert_eq!(
        db.metadata.restore(elsewhere).await.unwrap(),
        Restored::Changed
    );
    assert_eq!(db.get("a", "v1").await.unwrap(), "101");
}

async fn a_tag_brings_its_manifest_back(db: &Database) {
    db.link("a", digest(1)).await;
    db.put(tagged(image(100, &[1]), &["v1", "v2"])).await;
    delete(db, 100).await;
    assert_eq!(db.metadata.repositories(None, 10).await.unwrap(), [""; 0]);
    assert_eq!(
        db.metadata.restore(to("v1", 100)).await.unwrap(),
        Restored::Changed,
        "it is in the trash, and the caller did not know"
    );
    let mut both = to("v1", 100);
    both.manifests = vec![image(100, &[1])];
    assert_eq!(
        db.metadata.restore(both.clone()).await.unwrap(),
        done(&[100], None)
    );
    assert_eq!(db.get("a", "v1").await.unwrap(), "100");
    assert_eq!(db.get("a", "v2").await, None, "only what was asked for");
    assert_eq!(
        changes(db, "v1").await[0],
        (None, Some(digest(100)), TagReason::Restore)
    );
    assert_eq!(db.metadata.repositories(None, 10).await.unwrap(), ["a"]);
    assert_eq!(
        db.metadata
            .trash(&name("a"), None, 10)
            .await
            .unwrap()
            .unwrap(),
        []
    );
    // Somebody else was faster.
    assert_eq!(
        db.metadata.restore(both).await.unwrap(),
        done(&[], Some(100))
    );
}

async fn a_decision_by_an_old_line_is_not_carried_out(db: &Database) {
    for number in [100, 101] {
        db.put(tagged(manifest("a", number), &["v1"])).await;
    }
    let mut decided = to("v1", 100);
    decided.tag.as_mut().unwrap().newest = Some(history(db, "v1").await[0].id);
    db.put(tagged(manifest("a", 102), &["v1"])).await;
    assert_eq!(
        db.metadata.restore(decided.clone()).await.unwrap(),
        Restored::Changed
    );
    assert_eq!(db.get("a", "v1").await.unwrap(), "102");
    decided.tag.as_mut().unwrap().newest = Some(history(db, "v1").await[0].id);
    assert_eq!(
        db.metadata.restore(decided).await.unwrap(),
        done(&[], Some(102))
    );
}

async fn a_restored_manifest_holds_its_blobs_again(db: &Database) {
    for number in [1, 2] {
        db.link("a", digest(number)).await;
    }
    let put = image(100, &[1, 2, 2]);
    db.put(put.clone()).await;
    delete(db, 100).await;
    assert_eq!(
        db.metadata.restore(restore(vec![put])).await.unwrap(),
        done(&[100], None)
    );
    assert_eq!(db.get("a", &digest(100).to_string()).await.unwrap(), "100");
    for number in [1, 2] {
        let unlinked = db
            .metadata
            .unlink_blob(&name("a"), &digest(number), NOW)
            .await
            .unwrap();
        let manifests = vec![digest(100)];
        assert_eq!(unlinked, Unlinked::InUse { manifests });
    }
}

async fn an_unlinked_blob_is_linked_again_while_it_is_stored(db: &Database) {
    db.link("a", digest(1)).await;
    db.put(image(100, &[1])).await;
    delete(db, 100).await;
    let unlink = async || {
        db.metadata
            .unlink_blob(&name("a"), &digest(1), NOW)
            .await
            .unwrap()
    };
    assert_eq!(unlink().await, Unlinked::Removed);
    assert_eq!(
        db.metadata
            .restore(restore(vec![image(100, &[1])]))
            .await
            .unwrap(),
        done(&[100], None)
    );
    let manifests = vec![digest(100)];
    assert_eq!(unlink().await, Unlinked::InUse { manifests });
}

async fn content_that_is_gone_is_named_and_nothing_changes(db: &Database) {
    let mut sparse = image(100, &[1, 2]);
    sparse.blobs[1].required = false;
    db.link("a", digest(1)).await;
    db.put(sparse.clone()).await;
    delete(db, 100).await;
    // No deletion takes away what a manifest had, so the caller says more than it had.
    let mut other = sparse.clone();
    other.blobs.push(layer(digest(3)));
    other.children = vec![child(digest(50))];
    let gone = Restored::Gone {
        blobs: digests(&[3]),
        manifests: digests(&[50]),
    };
    let mut tagging = to("v1", 100);
    tagging.manifests = vec![other];
    assert_eq!(db.metadata.restore(tagging).await.unwrap(), gone);
    assert_eq!(db.get("a", "v1").await, None);
    assert_eq!(db.get("a", &digest(100).to_string()).await, None);
    assert_eq!(
        db.metadata
            .trash(&name("a"), None, 10)
            .await
            .unwrap()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(
        db.metadata.restore(restore(vec![sparse])).await.unwrap(),
        done(&[100], None),
        "what was missing then may be missing now"
    );
}

async fn an_index_comes_back_with_its_children(db: &Database) {
    db.link("a", digest(1)).await;
    db.put(image(100, &[1])).await;
    db.put(manifest("a", 101)).await;
    db.put(index(102, &[100])).await;
    db.put(tagged(index(103, &[101, 102]), &["all"])).await;
    for number in [103, 102, 100] {
        delete(db, number).await;
    }
    let order = vec![
        image(100, &[1]),
        index(102, &[100]),
        index(103, &[101, 102]),
    ];
    let alone = vec![index(103, &[101, 102])];
    let gone = Restored::Gone {
        blobs: vec![],
        manifests: digests(&[102]),
    };
    assert_eq!(db.metadata.restore(restore(alone)).await.unwrap(), gone);
    let mut all = to("all", 103);
    all.manifests = order;
    assert_eq!(
        db.metadata.restore(all).await.unwrap(),
        done(&[100, 102, 103], None)
    );
    for number in 100..104 {
        let found = db.get("a", &digest(number).to_string()).await;
        assert_eq!(found.unwrap(), number.to_string());
    }
    let unlinked = db
        .metadata
        .unlink_blob(&name("a"), &digest(1), NOW)
        .await
        .unwrap();
    let manifests = vec![digest(100)];
    assert_eq!(unlinked, Unlinked::InUse { manifests });
}

/// Whoever names another repository's blob in a sparse manifest does not get it by a restore.
async fn what_a_manifest_never_had_is_not_linked(db: &Database) {
    db.link("secret", digest(1)).await;
    db.link("secret", digest(2)).await;
    let mut greedy = image(100, &[1]);
    greedy.blobs[0].required = false;
    greedy.children = vec![child(digest(2))];
    greedy.children[0].required = false;
    db.put(greedy.clone()).await;
    delete(db, 100).await;
    assert_eq!(
        db.metadata.restore(restore(vec![greedy])).await.unwrap(),
        done(&[100], None)
    );
    for number in [1, 2] {
        let blob = db
            .metadata
            .blob(&name("a"), &digest(number), NOW)
            .await
            .unwrap();
        assert_eq!(blob, None, "blob {number}");
    }
    // Pushed after all, it is the manifest's.
    db.link("a", digest(1)).await;
    let unlinked = db
        .metadata
        .unlink_blob(&name("a"), &digest(1), NOW)
        .await
        .unwrap();
    let manifests = vec![digest(100)];
    assert_eq!(unlinked, Unlinked::InUse { manifests });
}
