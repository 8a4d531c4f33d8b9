//! Adoption of another registry's tree.

use std::time::Duration;

use holdfast_metadata::{
    AdoptTag, AdoptionState, DEFAULT_GRACE, FoundBlob, FoundRepository, GcHold, Moment, OldUpload,
    Problem, ProblemKind, Stage, TagAdopted,
};
use holdfast_model::{Digest, Timestamp};

use super::on_every_engine;
use crate::fixture::*;

on_every_engine!(
    collection_is_held_until_a_grace_period_after_the_walk,
    a_waiting_repository_is_in_the_catalog,
    content_is_taken_over_where_it_lies,
    an_object_takes_the_place_of_bytes_that_are_lost,
    what_is_done_gets_nothing_more,
    a_tag_keeps_its_past,
    a_push_in_between_wins,
    content_without_a_link_is_queued,
    problems_are_noted_once_and_come_in_pages,
    old_uploads_are_due_by_their_age,
);

async fn begun(db: &Database) {
    db.metadata.begin_adoption(false, false, NOW).await.unwrap();
}

async fn waiting(db: &Database, repository: &str, populated: bool) {
    let found = FoundRepository {
        name: name(repository),
        populated,
    };
    db.metadata.note_repositories(vec![found]).await.unwrap();
}

async fn done(db: &Database, repository: &str, existed: bool) {
    db.metadata
        .repository_adopted(&name(repository), existed, NOW)
        .await
        .unwrap();
}

fn found(digest: Digest, key: &str) -> FoundBlob {
    FoundBlob {
        digest,
        size: 10,
        storage_key: key.to_owned(),
        canonical: true,
    }
}

fn old_tag(repository: &str, text: &str, digest: Digest, at: Timestamp) -> AdoptTag {
    AdoptTag {
        repository: name(repository),
        tag: tag(text),
        digest,
        at,
        dated: true,
        history: Vec::new(),
    }
}

async fn collection_is_held_until_a_grace_period_after_the_walk(db: &Database) {
    let hold = async |now| db.metadata.gc_hold(now).await.unwrap();
    assert_eq!(hold(NOW).await, None);
    let walk = db.metadata.begin_adoption(false, true, NOW).await.unwrap();
    assert_eq!((walk.stage, walk.verify), (Stage::Names, true));
    for stage in [
        Stage::Names,
        Stage::Blobs,
        Stage::Repositories,
        Stage::Settling,
    ] {
        assert_eq!(hold(later(1000)).await, Some(GcHold::WhileAdopting));
        let cursor = format!("{stage:?}");
        db.metadata
            .save_adoption_cursor(stage, &cursor)
            .await
            .unwrap();
        let walk = db.metadata.adoption_walk().await.unwrap().unwrap();
        assert_eq!((walk.stage, walk.cursor), (stage, cursor));
        for _ in 0..2 {
            db.metadata
                .end_adoption_stage(stage, later(1))
                .await
                .unwrap();
        }
    }
    let until = later(1).plus(DEFAULT_GRACE);
    assert_eq!(hold(NOW).await, Some(GcHold::Until(until)));
    assert_eq!(hold(until).await, None);
    for (again, expected) in [(false, None), (true, Some(GcHold::WhileAdopting))] {
        db.metadata
            .begin_adoption(again, false, later(100))
            .await
            .unwrap();
        assert_eq!(hold(later(200)).await, expected);
    }
}

async fn a_waiting_repository_is_in_the_catalog(db: &Database) {
    begun(db).await;
    let catalog = async |after, limit| db.metadata.repositories(after, limit).await.unwrap();
    db.put(tagged(manifest("m", 100), &["v1"])).await;
    for (repository, populated) in [("a", true), ("m", true), ("n", false), ("z", true)] {
        waiting(db, repository, populated).await;
    }
    assert_eq!(catalog(None, 10).await, ["a", "m", "z"]);
    assert_eq!(catalog(None, 2).await, ["a", "m"]);
    assert_eq!(catalog(Some("a"), 1).await, ["m"]);
    assert_eq!(
        db.metadata
            .waiting_repositories(Some("a"), 2)
            .await
            .unwrap(),
        [name("m"), name("n")]
    );
    done(db, "a", true).await;
    done(db, "z", false).await;
    assert_eq!(catalog(None, 10).await, ["m"]);
    let tags = async |repository| db.metadata.tags(&name(repository), None, 9).await.unwrap();
    assert_eq!(tags("a").await, Some(vec![]), "emptied, and still known");
    assert_eq!(tags("z").await, None);
    let walk = db.metadata.adoption_walk().await.unwrap().unwrap();
    assert_eq!((walk.repositories, walk.repositories_done), (4, 2));
}

async fn content_is_taken_over_where_it_lies(db: &Database) {
    begun(db).await;
    waiting(db, "a", true).await;
    let (one, two, gone) = (digest(1), digest(2), digest(3));
    let unknown = async || {
        db.metadata
            .unknown_content(&[one, two, gone])
            .await
            .unwrap()
    };
    assert_eq!(unknown().await, [one, two, gone]);
    for _ in 0..2 {
        let blobs = vec![found(one, "blobs/1"), found(two, "blobs/2")];
        db.metadata.adopt_blobs(blobs, NOW).await.unwrap();
    }
    assert_eq!(unknown().await, [gone]);
    let link = async || {
        let digests = vec![one, two, gone];
        db.metadata
            .adopt_links(&name("a"), digests, NOW)
            .await
            .unwrap()
    };
    assert_eq!(link().await, (2, vec![gone]));
    assert_eq!(link().await, (0, vec![gone]));
    let blob = db
        .metadata
        .blob(&name("a"), &one, NOW)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((blob.size, &*blob.storage_key), (10, "blobs/1"));

    let unlinked = db.metadata.unlinked_blobs(&name("a"), &[one, gone]).await;
    assert_eq!(unlinked.unwrap(), [gone]);
    let mut image = manifest("a", 100);
    image.blobs = vec![layer(one), layer(gone)];
    image.blobs[1].required = false;
    for stored in [1, 0] {
        let images = vec![image.clone()];
        let adopted = db.metadata.adopt_manifests(&name("a"), images).await;
        assert_eq!(adopted.unwrap(), stored);
    }
    assert_eq!(db.get("a", &digest(100).to_string()).await.unwrap(), "100");
    let unknown = db
        .metadata
        .unknown_manifests(&name("a"), &[digest(100), one])
        .await;
    assert_eq!(unknown.unwrap(), [one]);
    let walk = db.metadata.adoption_walk().await.unwrap().unwrap();
    assert_eq!((walk.counts.blobs, walk.counts.blob_bytes), (2, 20));
    assert_eq!((walk.counts.links, walk.counts.manifests), (2, 1));

    // A second object of a blob that has one is given up, and an object that was given up is no blob.
    let again = vec![found(one, "blobs/1.again")];
    db.metadata.adopt_blobs(again, NOW).await.unwrap();
    let given_up = vec![found(gone, "blobs/1.again")];
    db.metadata.adopt_blobs(given_up, NOW).await.unwrap();
    assert!(
        !db.metadata
            .key_is_free("blobs/1.again", &digest(9))
            .await
            .unwrap()
    );
    assert_eq!(db.metadata.content(&gone).await.unwrap(), None);
}

/// The old registry takes pushes of blobs whose bytes here are about to be deleted, and damaged: its objects are the
/// only good ones.
async fn an_object_takes_the_place_of_bytes_that_are_lost(db: &Database) {
    let (doomed, damaged) = (digest(1), digest(2));
    for digest in [doomed, damaged] {
        db.link("z", digest).await;
    }
    let key = |digest| format!("z/{digest}");
    let damaged_key = key(damaged);
    let marked = db.metadata.mark_damaged(&damaged, &damaged_key, NOW).await;
    assert!(marked.unwrap());
    let moment = Moment::hurried(NOW, Duration::from_secs(24 * 3600), Duration::ZERO);
    db.metadata
        .unlink_blob(&name("z"), &doomed, NOW)
        .await
        .unwrap();
    let due = db.metadata.due_blobs(moment, 10).await.unwrap();
    assert_eq!(due, [doomed]);
    let taken = db.metadata.review_blobs(due, moment, NOW).await.unwrap();
    assert_eq!(taken.len(), 1, "{taken:?}");

    begun(db).await;
    waiting(db, "a", true).await;
    let dead = vec![found(doomed, &key(doomed))];
    db.metadata.adopt_blobs(dead, NOW).await.unwrap();
    let link = async || {
        let digests = vec![doomed, damaged];
        db.metadata
            .adopt_links(&name("a"), digests, NOW)
            .await
            .unwrap()
    };
    assert_eq!(
        link().await,
        (1, vec![doomed]),
        "its bytes are to be deleted"
    );
    for _ in 0..2 {
        let blobs = vec![found(doomed, "blobs/1"), found(damaged, "blobs/2")];
        db.metadata.adopt_blobs(blobs, NOW).await.unwrap();
    }
    assert_eq!(link().await, (1, vec![]));
    for (digest, expected) in [(doomed, "blobs/1"), (damaged, "blobs/2")] {
        let blob = db.metadata.blob(&name("a"), &digest, NOW).await.unwrap();
        let blob = blob.unwrap();
        assert_eq!((&*blob.storage_key, blob.damaged), (expected, false));
        assert!(!db.metadata.is_discarded(expected).await.unwrap());
    }
    // What is deleted is what the blob had before.
    let due = db.metadata.due_objects(later(1), 10).await.unwrap();
    let keys: Vec<_> = due.iter().map(|one| one.storage_key.as_str()).collect();
    assert_eq!(keys, [key(doomed)]);
    db.metadata.objects_deleted(due, later(1)).await.unwrap();
    assert_eq!(link().await, (0, vec![]));
}

async fn what_is_done_gets_nothing_more(db: &Database) {
    begun(db).await;
    let state = async || db.metadata.adoption_state(&name("a")).await.unwrap();
    assert_eq!(state().await, AdoptionState::Unknown);
    db.metadata
        .adopt_blobs(vec![found(digest(1), "blobs/1")], NOW)
        .await
        .unwrap();
    let add = async || {
        let link = db
            .metadata
            .adopt_links(&name("a"), vec![digest(1)], NOW)
            .await;
        let image = vec![manifest("a", 100)];
        let stored = db.metadata.adopt_manifests(&name("a"), image).await;
        let tag = db
            .metadata
            .adopt_tag(old_tag("a", "v1", digest(100), NOW))
            .await;
        (link.unwrap().0, stored.unwrap(), tag.unwrap())
    };
    assert_eq!(add().await, (0, 0, TagAdopted::Late), "it was not found");
    waiting(db, "a", true).await;
    assert_eq!(state().await, AdoptionState::Waiting { since: None });
    assert_eq!(add().await, (1, 1, TagAdopted::Set));
    done(db, "a", true).await;
    assert_eq!(state().await, AdoptionState::Done { seen_at: Some(NOW) });
    db.metadata
        .delete_manifest(&name("a"), &digest(100), NOW)
        .await
        .unwrap();
    db.metadata
        .unlink_blob(&name("a"), &digest(1), NOW)
        .await
        .unwrap();
    assert_eq!(add().await, (0, 0, TagAdopted::Late));
    assert_eq!(db.get("a", "v1").await, None);
    waiting(db, "a", true).await;
    assert_eq!(
        state().await,
        AdoptionState::Done { seen_at: Some(NOW) },
        "finding it again changes nothing"
    );

    for stage in [
        Stage::Names,
        Stage::Blobs,
        Stage::Repositories,
        Stage::Settling,
    ] {
        db.metadata.end_adoption_stage(stage, NOW).await.unwrap();
    }
    db.metadata
        .begin_adoption(true, false, later(1))
        .await
        .unwrap();
    assert_eq!(state().await, AdoptionState::Waiting { since: Some(NOW) });
}

async fn a_tag_keeps_its_past(db: &Database) {
    begun(db).await;
    waiting(db, "a", true).await;
    let images = vec![manifest("a", 102)];
    db.metadata
        .adopt_manifests(&name("a"), images)
        .await
        .unwrap();
    let mut latest = old_tag("a", "latest", digest(102), later(3));
    latest.history = vec![(digest(100), later(1)), (digest(101), later(2))];
    for outcome in [TagAdopted::Set, TagAdopted::Kept] {
        assert_eq!(
            db.metadata.adopt_tag(latest.clone()).await.unwrap(),
            outcome
        );
    }
    assert_eq!(db.get("a", "latest").await.unwrap(), "102");
    if db.is_open() {
        let steps = "old_digest IS NULL AND new_digest IS NOT NULL";
        assert_eq!(
            db.count(&format!("tag_history WHERE reason = 3 AND {steps}")),
            1
        );
        let steps = "old_digest < new_digest";
        assert_eq!(
            db.count(&format!("tag_history WHERE reason = 3 AND {steps}")),
            2
        );
    }
    let dangling = old_tag("a", "gone", digest(103), later(3));
    let outcome = db.metadata.adopt_tag(dangling).await.unwrap();
    assert_eq!(outcome, TagAdopted::NoManifest);
}

async fn a_push_in_between_wins(db: &Database) {
    begun(db).await;
    waiting(db, "a", true).await;
    let images = vec![manifest("a", 100), manifest("a", 102)];
    db.metadata
        .adopt_manifests(&name("a"), images)
        .await
        .unwrap();
    db.put(tagged(manifest("a", 101), &["latest"])).await;
    for (at, outcome, payload) in [
        (later(-1), TagAdopted::Kept, "101"),
        (NOW, TagAdopted::Kept, "101"),
        (later(1), TagAdopted::Set, "102"),
    ] {
        let old = old_tag("a", "latest", digest(102), at);
        assert_eq!(db.metadata.adopt_tag(old).await.unwrap(), outcome);
        assert_eq!(db.get("a", "latest").await.unwrap(), payload);
    }
}

async fn content_without_a_link_is_queued(db: &Database) {
    begun(db).await;
    waiting(db, "a", true).await;
    let blobs = (1..=5).map(|number| found(digest(number), &format!("blobs/{number}")));
    db.metadata.adopt_blobs(blobs.collect(), NOW).await.unwrap();
    let links = vec![digest(2), digest(5)];
    db.metadata
        .adopt_links(&name("a"), links, NOW)
        .await
        .unwrap();
    let mut unread = problem("a", ProblemKind::ManifestSchema1, "x");
    unread.digest = Some(digest(3));
    db.metadata.note_problems(vec![unread]).await.unwrap();
    let mut after = None;
    let mut rounds = 0;
    loop {
        rounds += 1;
        after = db
            .metadata
            .queue_unlinked_blobs(after, 2, NOW)
            .await
            .unwrap();
        if after.is_none() {
            break;
        }
    }
    assert_eq!(rounds, 3);
    assert_eq!(
        db.metadata.content(&digest(3)).await.unwrap(),
        None,
        "nothing will delete the bytes of a manifest that could not be read"
    );
    assert!(db.metadata.content(&digest(1)).await.unwrap().is_some());
    if db.is_open() {
        assert_eq!(db.count("gc_blob_queue"), 2);
        assert_eq!(db.count("blobs"), 4);
    }
}

fn problem(repository: &str, kind: ProblemKind, place: &str) -> Problem {
    Problem {
        repository: repository.to_owned(),
        kind,
        place: place.to_owned(),
        tag: None,
        digest: None,
        manifest: None,
        detail: String::new(),
        found_at: NOW,
    }
}

async fn problems_are_noted_once_and_come_in_pages(db: &Database) {
    begun(db).await;
    db.put(tagged(manifest("a", 100), &["v1", "v2"])).await;
    let mut layer = problem("a", ProblemKind::BlobMissing, "layer");
    (layer.digest, layer.manifest) = (Some(digest(1)), Some(digest(100)));
    let mut tag = problem("a", ProblemKind::TagDangling, "v3");
    tag.tag = Some("v3".to_owned());
    let all = [
        problem("", ProblemKind::NameInvalid, "x"),
        layer,
        tag,
        problem("b", ProblemKind::LinkEmpty, "one"),
        problem("b", ProblemKind::LinkEmpty, "two"),
    ];
    for _ in 0..2 {
        db.metadata.note_problems(all.to_vec()).await.unwrap();
    }
    let noted = async || db.metadata.adoption_walk().await.unwrap().unwrap().problems;
    assert_eq!(noted().await, 5);
    let mut seen: Vec<(Problem, Vec<String>)> = Vec::new();
    loop {
        let after = seen.last().map(|(problem, _)| problem.clone());
        let page = db.metadata.problems(after.as_ref(), 2).await.unwrap();
        if page.is_empty() {
            break;
        }
        seen.extend(page);
    }
    let problems: Vec<_> = seen.iter().map(|(problem, _)| problem.clone()).collect();
    assert_eq!(problems, all);
    let tags: Vec<_> = seen.into_iter().map(|(_, tags)| tags.join(" ")).collect();
    assert_eq!(tags, ["", "v1 v2", "v3", "", ""]);
    db.metadata.clear_problems("b").await.unwrap();
    assert_eq!(noted().await, 3);
}

async fn old_uploads_are_due_by_their_age(db: &Database) {
    begun(db).await;
    let upload = |number, at| OldUpload {
        directory: format!("uploads/{number}"),
        started_at: at,
    };
    let all = vec![upload(1, later(2)), upload(2, NOW), upload(3, later(1))];
    db.metadata.note_old_uploads(all.clone()).await.unwrap();
    let due = async |before| db.metadata.old_uploads(before, 10).await.unwrap();
    assert_eq!(due(NOW).await, []);
    assert_eq!(due(later(2)).await, [all[1].clone(), all[2].clone()]);
    db.metadata.forget_old_upload("uploads/2").await.unwrap();
    assert_eq!(due(later(2)).await, [all[2].clone()]);
}
