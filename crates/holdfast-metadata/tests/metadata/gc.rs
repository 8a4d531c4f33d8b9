//! What the collector takes away, when, and what it must leave.

use std::collections::BTreeSet;
use std::time::Duration;

use holdfast_metadata::{
    Collected, Hold, Linked, Location, Metadata, Moment, Options, Pull, PutManifest, UntaggedPolicy,
};
use holdfast_model::{Digest, Timestamp};

use crate::fixture::*;

const KEEP: UntaggedPolicy = UntaggedPolicy {
    delete_after: None,
    keep_pulled_within: Duration::ZERO,
};
const DELETE: UntaggedPolicy = UntaggedPolicy {
    delete_after: Some(Duration::ZERO),
    keep_pulled_within: Duration::ZERO,
};

on_every_database!(
    a_deleted_image_goes_when_its_grace_is_over,
    grace_can_be_cut_short,
    children_and_referrers_go_with_what_held_them,
    a_referrer_waits_for_its_subject_for_one_grace,
    manifests_without_tags_stay_unless_a_policy_says_so,
    a_lease_that_ends_needs_no_queue_and_other_repositories_keep_the_bytes,
    a_blob_that_comes_back_survives_the_deletion_of_its_old_bytes,
    what_cannot_be_deleted_is_tried_again_later_and_later,
    what_somebody_deletes_is_nobody_elses_until_then,
    a_rehearsal_says_what_a_round_does_and_changes_nothing,
    reasons_are_given,
);

/// Rounds until nothing is due; what they took away, as text.
async fn collect(db: &Database, moment: Moment, policy: UntaggedPolicy) -> Vec<String> {
    let metadata = &db.metadata;
    let mut all = Vec::new();
    loop {
        let manifests = metadata.due_manifests(moment, 10).await.unwrap();
        let links = metadata.due_links(moment, 10).await.unwrap();
        let blobs = metadata.due_blobs(moment, 10).await.unwrap();
        if manifests.is_empty() && links.is_empty() && blobs.is_empty() {
            return all;
        }
        let mut taken = Vec::new();
        for (repository, digests) in manifests {
            let review = metadata.review_manifests(&repository, digests, moment, policy);
            taken.extend(review.await.unwrap());
        }
        for (repository, digests) in links {
            let review = metadata.review_links(&repository, digests, moment);
            taken.extend(review.await.unwrap());
        }
        let reviewed = metadata.review_blobs(blobs, moment, moment.now).await;
        taken.extend(reviewed.unwrap());
        all.extend(taken.iter().map(shown));
    }
}

fn shown(one: &Collected) -> String {
    let number = |digest: &Digest| u64::from_str_radix(&digest.hex()[..16], 16).unwrap();
    match one {
        Collected::Manifest {
            repository, digest, ..
        } => {
            format!("manifest {repository} {}", number(digest))
        }
        Collected::Link { repository, digest } => format!("link {repository} {}", number(digest)),
        Collected::Blob { digest, size } => format!("blob {} {size}", number(digest)),
    }
}

fn at(hours: i64) -> Moment {
    Moment::present(later(hours))
}

/// Now, with a grace of nothing.
fn at_once() -> Moment {
    Moment::hurried(NOW, Duration::from_secs(24 * 3600), Duration::ZERO)
}

/// Deletes what the outbox names, as a store would; the keys.
async fn empty_outbox(db: &Database, now: Timestamp) -> Vec<String> {
    let due = db.metadata.due_objects(now, 100).await.unwrap();
    let keys = due.iter().map(|one| one.storage_key.clone()).collect();
    db.metadata.objects_deleted(due, now).await.unwrap();
    keys
}

fn image(repository: &str, number: u64, layers: &[u64]) -> PutManifest {
    let mut image = manifest(repository, number);
    image.blobs = layers
        .iter()
        .map(|layer| self::layer(digest(*layer)))
        .collect();
    image
}

async fn a_deleted_image_goes_when_its_grace_is_over(db: &Database) {
    for layer in [1, 2] {
        db.link("a", digest(layer)).await;
    }
    db.put(tagged(image("a", 100, &[1, 2]), &["v1"])).await;
    db.put(tagged(image("a", 101, &[2]), &["v2"])).await;
    assert_eq!(collect(db, at(1000), KEEP).await, [""; 0]);

    db.metadata
        .delete_manifest(&name("a"), &digest(100), later(10))
        .await
        .unwrap();
    // The first look ends the use and starts a lease; a push that was told of the blob has that long.
    assert_eq!(collect(db, at(11), KEEP).await, [""; 0]);
    assert_eq!(collect(db, at(34), KEEP).await, [""; 0]);
    assert_eq!(collect(db, at(35), KEEP).await, ["link a 1", "blob 1 10"]);
    assert_eq!(db.count("blobs WHERE state = 1"), 1);
    assert_eq!(
        empty_outbox(db, later(35)).await,
        [format!("a/{}", digest(1))]
    );
    assert_eq!((db.count("blobs"), db.count("gc_object_outbox")), (1, 0));
    let history = db.metadata.gc_history(NOW).await.unwrap();
    let bytes: u64 = history.iter().map(|day| day.bytes).sum();
    assert_eq!((history.len(), bytes), (3, 20), "{history:?}");
}

async fn grace_can_be_cut_short(db: &Database) {
    db.link("a", digest(1)).await;
    db.put(tagged(image("a", 100, &[1]), &["v1"])).await;
    let mut index = tagged(manifest("a", 101), &["all"]);
    index.children = vec![child(digest(100))];
    db.put(index).await;
    for number in [101, 100] {
        let deleted = db
            .metadata
            .delete_manifest(&name("a"), &digest(number), NOW)
            .await;
        deleted.unwrap().unwrap();
    }
    let hour = Duration::from_secs(3600);
    let soon = Moment::hurried(NOW, 24 * hour, 2 * hour);
    assert_eq!(collect(db, soon, KEEP).await, [""; 0]);
    assert_eq!(
        collect(db, at_once(), KEEP).await,
        ["link a 1", "blob 1 10"]
    );
    let trash = db.metadata.purge_trash(at_once(), 10).await.unwrap();
    assert_eq!(trash, 2);
}

async fn children_and_referrers_go_with_what_held_them(db: &Database) {
    for layer in [1, 2, 3] {
        db.link("a", digest(layer)).await;
    }
    db.put(image("a", 100, &[1])).await;
    db.put(tagged(image("a", 110, &[2]), &["kept"])).await;
    let mut index = tagged(manifest("a", 101), &["all"]);
    index.children = vec![child(digest(100)), child(digest(110))];
    db.put(index).await;
    let mut signature = image("a", 102, &[3]);
    signature.subject = Some(digest(100));
    db.put(signature).await;
    let mut of_signature = manifest("a", 103);
    of_signature.subject = Some(digest(102));
    db.put(of_signature).await;
    assert_eq!(collect(db, at(1000), KEEP).await, [""; 0]);

    db.metadata
        .delete_manifest(&name("a"), &digest(101), NOW)
        .await
        .unwrap();
    assert_eq!(collect(db, at(23), KEEP).await, [""; 0]);
    // One grace period for each step: index, child, its signature, the signature's signature.
    assert_eq!(collect(db, at(24), KEEP).await, ["manifest a 100"]);
    assert_eq!(
        collect(db, at(48), KEEP).await,
        ["manifest a 102", "link a 1", "blob 1 10"]
    );
    assert_eq!(
        collect(db, at(72), KEEP).await,
        ["manifest a 103", "link a 3", "blob 3 10"]
    );
    assert_eq!(collect(db, at(1000), KEEP).await, [""; 0]);
    assert!(db.get("a", "kept").await.is_some());
}

async fn a_referrer_waits_for_its_subject_for_one_grace(db: &Database) {
    for (number, subject) in [(102, 100), (103, 101)] {
        let mut signature = manifest("a", number);
        signature.subject = Some(digest(subject));
        db.put(signature).await;
    }
    db.put(manifest("a", 101)).await;
    assert_eq!(collect(db, at(23), KEEP).await, [""; 0]);
    assert_eq!(collect(db, at(24), KEEP).await, ["manifest a 102"]);
}

/// What `registry:2` destroys with `-m` stays: children of tagged indexes, referrers of what stays.
async fn manifests_without_tags_stay_unless_a_policy_says_so(db: &Database) {
    db.put(manifest("a", 100)).await;
    db.put(manifest("a", 104)).await;
    let mut index = tagged(manifest("a", 101), &["all"]);
    index.children = vec![child(digest(100))];
    db.put(index).await;
    let mut signature = manifest("a", 102);
    signature.subject = Some(digest(100));
    db.put(signature).await;
    assert_eq!(collect(db, at(1000), KEEP).await, [""; 0]);

    let walked = async || {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = db.metadata.untagged_manifests(after, 2).await.unwrap();
            found.extend(page.manifests.into_iter().map(|one| one.digest));
            after = page.next;
            if after.is_none() {
                return found;
            }
        }
    };
    assert_eq!(walked().await, [digest(104)]);
    let queue = vec![(name("a"), digest(104)), (name("a"), digest(100))];
    db.metadata
        .queue_untagged(queue.clone(), later(1))
        .await
        .unwrap();
    // Who turns the policy off again keeps what is queued.
    assert_eq!(collect(db, at(1), KEEP).await, [""; 0]);
    db.metadata.queue_untagged(queue, later(1)).await.unwrap();
    // A hurry is about the grace, not about the policy.
    assert_eq!(collect(db, at_once(), DELETE).await, [""; 0]);
    assert_eq!(collect(db, at(1), DELETE).await, ["manifest a 104"]);
}

#[tokio::test]
async fn a_policy_watches_tags_go_and_pulls_come() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        untagged_after: Some(Duration::from_secs(48 * 3600)),
        ..Options::new(Location::File(directory.path().join("m.db")), 1)
    };
    let metadata = Metadata::open(options, NOW).await.unwrap();
    let db = Database::of(metadata);
    let policy = UntaggedPolicy {
        delete_after: Some(Duration::from_secs(48 * 3600)),
        keep_pulled_within: Duration::from_secs(100 * 3600),
    };
    for number in [100, 101, 102] {
        db.put(tagged(manifest("a", number), &["v1"])).await;
    }
    db.put(manifest("a", 103)).await;
    db.put(tagged(manifest("a", 101), &["old"])).await;
    let pull = |number, hours| Pull {
        repository: name("a"),
        digest: digest(number),
        at: later(hours),
    };
    // An older note does not undo a newer one, and one of nothing is nothing.
    for pulls in [vec![pull(100, 40)], vec![pull(100, 1), pull(7, 1)]] {
        db.metadata.record_pulls(pulls).await.unwrap();
    }
    assert_eq!(collect(&db, at(47), policy).await, [""; 0]);
    assert_eq!(collect(&db, at(48), policy).await, ["manifest a 103"]);
    assert_eq!(collect(&db, at(139), policy).await, [""; 0]);
    assert_eq!(collect(&db, at(140), policy).await, ["manifest a 100"]);
    db.metadata
        .delete_tag(&name("a"), &tag("old"), later(200))
        .await
        .unwrap();
    assert_eq!(collect(&db, at(247), policy).await, [""; 0]);
    assert_eq!(collect(&db, at(248), policy).await, ["manifest a 101"]);
    assert!(db.get("a", "v1").await.is_some());
}

async fn a_lease_that_ends_needs_no_queue_and_other_repositories_keep_the_bytes(db: &Database) {
    db.link("a", digest(1)).await;
    db.metadata
        .mount_blob(&name("a"), &name("b"), &digest(1), later(10))
        .await
        .unwrap();
    assert_eq!(collect(db, at(23), KEEP).await, [""; 0]);
    assert_eq!(collect(db, at(24), KEEP).await, ["link a 1"]);
    let gone = db.metadata.blob(&name("a"), &digest(1), later(24)).await;
    assert_eq!(gone.unwrap(), None);
    assert_eq!(collect(db, at(34), KEEP).await, ["link b 1", "blob 1 10"]);
}

async fn a_blob_that_comes_back_survives_the_deletion_of_its_old_bytes(db: &Database) {
    db.link("a", digest(1)).await;
    assert_eq!(collect(db, at(24), KEEP).await.len(), 2);
    let due = db.metadata.due_objects(later(24), 10).await.unwrap();
    let again = LinkedAgain::link(db, "k2").await;
    assert_eq!(again, Linked::Stored);
    db.metadata.objects_deleted(due, later(24)).await.unwrap();
    let found = db.metadata.blob(&name("a"), &digest(1), NOW).await.unwrap();
    assert_eq!(&*found.unwrap().storage_key, "k2");
}

struct LinkedAgain;

impl LinkedAgain {
    async fn link(db: &Database, key: &str) -> Linked {
        let blob = blob("a", digest(1), key);
        db.metadata.link_blob(blob).await.unwrap()
    }
}

async fn what_cannot_be_deleted_is_tried_again_later_and_later(db: &Database) {
    db.link("a", digest(1)).await;
    collect(db, at(24), KEEP).await;
    let mut now = later(24);
    for seconds in [1, 2, 4, 8] {
        let due = db.metadata.due_objects(now, 10).await.unwrap();
        let keys: Vec<_> = due.into_iter().map(|one| one.storage_key).collect();
        assert_eq!(keys.len(), 1);
        db.metadata.objects_not_deleted(keys, now).await.unwrap();
        now = now.plus(Duration::from_secs(seconds));
        let early = now.minus(Duration::from_micros(1));
        assert_eq!(db.metadata.due_objects(early, 10).await.unwrap(), []);
    }
    assert_eq!(empty_outbox(db, now).await.len(), 1);
}

async fn what_somebody_deletes_is_nobody_elses_until_then(db: &Database) {
    for layer in [1, 2, 3] {
        db.link("a", digest(layer)).await;
    }
    collect(db, at(24), KEEP).await;
    let (now, until) = (later(24), later(25));
    let first = db.metadata.claim_objects(now, until, 2).await.unwrap();
    let second = db.metadata.claim_objects(now, until, 2).await.unwrap();
    assert_eq!((first.len(), second.len()), (2, 1));
    assert!(!first.contains(&second[0]));
    assert_eq!(db.metadata.claim_objects(now, until, 2).await.unwrap(), []);
    // One of them ends before it has deleted anything.
    db.metadata.objects_deleted(first, now).await.unwrap();
    let again = db
        .metadata
        .claim_objects(until, later(26), 10)
        .await
        .unwrap();
    assert_eq!(again, second);
    assert!(again[0].digest.is_some() && again[0].size.is_some());
}

async fn a_rehearsal_says_what_a_round_does_and_changes_nothing(db: &Database) {
    for layer in [1, 2, 3] {
        db.link("a", digest(layer)).await;
    }
    db.put(image("a", 100, &[1])).await;
    let mut index = tagged(manifest("a", 101), &["all"]);
    index.children = vec![child(digest(100))];
    db.put(index).await;
    db.put(image("a", 103, &[2])).await;
    db.metadata
        .delete_manifest(&name("a"), &digest(101), NOW)
        .await
        .unwrap();
    let everything = |db: &Database| {
        let tables = [
            "manifests",
            "repo_blobs",
            "blobs",
            "gc_manifest_queue",
            "gc_link_queue",
            "gc_blob_queue",
            "gc_object_outbox",
            "manifest_trash",
            "gc_history",
        ];
        tables.map(|table| db.count(table))
    };
    let before = everything(db);
    let untagged = vec![(name("a"), digest(103))];
    let rehearse = |limit| {
        db.metadata
            .rehearse_gc(at_once(), DELETE, untagged.clone(), limit)
    };
    let (some, all) = rehearse(1).await.unwrap();
    assert!(!some.is_empty() && !all);
    let (rehearsed, all) = rehearse(1000).await.unwrap();
    assert!(all);
    assert_eq!(everything(db), before);
    let rehearsed: BTreeSet<String> = rehearsed.iter().map(shown).collect();

    db.metadata.queue_untagged(untagged, NOW).await.unwrap();
    let done = collect(db, at_once(), DELETE).await;
    assert_eq!(rehearsed, done.into_iter().collect::<BTreeSet<_>>());
    // Both images and all three layers, the third of which nobody ever used.
    assert_eq!(rehearsed.len(), 2 + 3 + 3, "{rehearsed:?}");
}

async fn reasons_are_given(db: &Database) {
    db.link("a", digest(1)).await;
    db.link("a", digest(2)).await;
    db.metadata
        .mount_blob(&name("a"), &name("b"), &digest(1), NOW)
        .await
        .unwrap();
    db.put(tagged(image("a", 100, &[1]), &["v1", "v2"])).await;
    let mut index = manifest("a", 101);
    index.children = vec![child(digest(100))];
    db.put(index).await;
    let mut signature = manifest("a", 102);
    signature.subject = Some(digest(100));
    db.put(signature).await;
    let mut early = manifest("a", 103);
    early.subject = Some(digest(999));
    db.put(early).await;

    let why = async |number| {
        db.metadata
            .gc_why(&name("a"), &digest(number))
            .await
            .unwrap()
    };
    let image = why(100).await;
    assert!(image.manifest && !image.blob);
    assert_eq!(
        image.holds,
        [
            Hold::Tag(tag("v1")),
            Hold::Tag(tag("v2")),
            Hold::Parent(digest(101))
        ]
    );
    assert_eq!(why(101).await.holds, [Hold::Unasked]);
    assert_eq!(why(102).await.holds, [Hold::Subject(digest(100))]);
    assert!(
        matches!(why(103).await.holds[..], [Hold::Queued { due_at, .. }] if due_at == later(24))
    );
    let layer = why(1).await;
    assert!(layer.blob && !layer.manifest);
    assert_eq!(
        layer.holds,
        [Hold::Manifest(digest(100)), Hold::Repository(name("b"))]
    );
    assert_eq!(why(2).await.holds, [Hold::Lease(later(24))]);
    assert_eq!(why(3).await.holds, []);
    db.metadata
        .delete_manifest(&name("a"), &digest(100), NOW)
        .await
        .unwrap();
    assert!(why(100).await.holds.contains(&Hold::Trash(later(24))));

    let status = db.metadata.gc_status().await.unwrap();
    let waiting = status.queues.map(|queue| (queue.name, queue.waiting));
    assert_eq!(
        waiting,
        [
            ("manifests", 2),
            ("links", 1),
            ("leases", 2),
            ("blobs", 0),
            ("objects", 0)
        ]
    );
}
