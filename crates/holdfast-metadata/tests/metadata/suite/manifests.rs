//! Manifests and the tags on them.

use holdfast_metadata::{PutOutcome, Unlinked};
use holdfast_model::Digest;

use super::on_every_engine;
use crate::fixture::*;

on_every_engine!(
    a_manifest_is_refused_while_content_is_missing,
    a_manifest_is_found_by_tag_and_digest,
    the_same_manifest_again_only_moves_tags,
    an_index_takes_blobs_for_children,
    deleting_a_manifest_takes_its_tags,
    deleting_a_tag_leaves_the_manifest,
);

async fn a_manifest_is_refused_while_content_is_missing(db: &Database) {
    let mut image = tagged(manifest("a", 100), &["v1"]);
    image.blobs = vec![
        layer(digest(1)),
        layer(digest(2)),
        layer(digest(2)),
        layer(digest(3)),
    ];
    image.blobs[3].required = false;
    image.children = vec![child(digest(50)), child(digest(50)), child(digest(51))];
    image.children[2].required = false;
    let refusal = |blobs: &[u64], manifests: &[u64]| PutOutcome::Missing {
        blobs: blobs.iter().map(|number| digest(*number)).collect(),
        manifests: manifests.iter().map(|number| digest(*number)).collect(),
    };
    assert_eq!(
        db.metadata.put_manifest(image.clone()).await.unwrap(),
        refusal(&[1, 2], &[50])
    );
    db.link("b", digest(1)).await;
    db.link("a", digest(2)).await;
    assert_eq!(
        db.metadata.put_manifest(image.clone()).await.unwrap(),
        refusal(&[1], &[50])
    );
    db.link("a", digest(1)).await;
    assert_eq!(
        db.metadata.put_manifest(image.clone()).await.unwrap(),
        refusal(&[], &[50])
    );
    assert_eq!(db.get("a", "v1").await, None);
    assert_eq!(
        db.metadata.tags(&name("a"), None, 10).await.unwrap(),
        None,
        "it never had a manifest"
    );
    db.put(manifest("a", 50)).await;
    assert_eq!(
        db.metadata.put_manifest(image).await.unwrap(),
        PutOutcome::Stored { created: true }
    );
    assert_eq!(db.get("a", "v1").await.unwrap(), "100");

    // The blob that was not required comes after all, and is kept for the manifest.
    db.link("a", digest(3)).await;
    let unlinked = db
        .metadata
        .unlink_blob(&name("a"), &digest(3), NOW)
        .await
        .unwrap();
    assert_eq!(
        unlinked,
        Unlinked::InUse {
            manifests: vec![digest(100)]
        }
    );
}

async fn a_manifest_is_found_by_tag_and_digest(db: &Database) {
    db.put(tagged(manifest("a/b", 100), &["v1", "latest"]))
        .await;
    for reference in ["v1", "latest", &digest(100).to_string()] {
        let found = db
            .metadata
            .manifest(&name("a/b"), &reference.parse().unwrap())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            (found.digest, found.payload.as_ref()),
            (digest(100), b"100".as_slice())
        );
        assert_eq!(db.get("a", reference).await, None);
    }
    assert_eq!(db.get("a/b", "v2").await, None);
    let wide = Digest::sha512([9; 64]);
    let mut other = tagged(manifest("a/b", 101), &["wide"]);
    other.digest = wide;
    db.put(other).await;
    assert_eq!(db.get("a/b", &wide.to_string()).await.unwrap(), "101");
    assert_eq!(db.get("a/b", "wide").await.unwrap(), "101");
}

async fn the_same_manifest_again_only_moves_tags(db: &Database) {
    db.put(tagged(manifest("a", 100), &["v1"])).await;
    db.put(tagged(manifest("a", 101), &["v1"])).await;
    assert_eq!(db.get("a", "v1").await.unwrap(), "101");
    let again = db
        .metadata
        .put_manifest(tagged(manifest("a", 100), &["v1", "v1", "v2"]))
        .await
        .unwrap();
    assert_eq!(again, PutOutcome::Stored { created: false });
    assert_eq!(db.get("a", "v1").await.unwrap(), "100");
    assert_eq!(db.get("a", "v2").await.unwrap(), "100");
    assert_eq!(
        db.get("a", &digest(101).to_string()).await.unwrap(),
        "101",
        "untagged manifests stay"
    );
}

async fn an_index_takes_blobs_for_children(db: &Database) {
    db.link("a", digest(1)).await;
    let mut cache = manifest("a", 100);
    cache.children = vec![child(digest(1))];
    db.put(cache).await;
    let unlinked = db
        .metadata
        .unlink_blob(&name("a"), &digest(1), NOW)
        .await
        .unwrap();
    assert_eq!(
        unlinked,
        Unlinked::InUse {
            manifests: vec![digest(100)]
        }
    );

    // A child that was absent arrives as a blob.
    let mut sparse = manifest("a", 101);
    sparse.children = vec![child(digest(2))];
    sparse.children[0].required = false;
    db.put(sparse).await;
    db.link("a", digest(2)).await;
    let unlinked = db
        .metadata
        .unlink_blob(&name("a"), &digest(2), NOW)
        .await
        .unwrap();
    assert_eq!(
        unlinked,
        Unlinked::InUse {
            manifests: vec![digest(101)]
        }
    );
}

async fn deleting_a_manifest_takes_its_tags(db: &Database) {
    let delete = async |number| {
        db.metadata
            .delete_manifest(&name("a"), &digest(number), NOW)
            .await
            .unwrap()
    };
    assert_eq!(delete(100).await, None);
    db.put(tagged(manifest("a", 100), &["v2", "v1"])).await;
    db.put(tagged(manifest("a", 101), &["other"])).await;
    assert_eq!(db.get("a", "v1").await.unwrap(), "100");
    assert_eq!(delete(100).await, Some(vec![tag("v1"), tag("v2")]));
    assert_eq!(delete(100).await, None);
    for reference in ["v1", "v2", &digest(100).to_string()] {
        assert_eq!(db.get("a", reference).await, None);
    }
    assert_eq!(db.get("a", "other").await.unwrap(), "101");
    db.put(tagged(manifest("a", 100), &["v1"])).await;
    assert_eq!(db.get("a", "v1").await.unwrap(), "100", "it may come back");
    assert_eq!(delete(100).await, Some(vec![tag("v1")]));
}

async fn deleting_a_tag_leaves_the_manifest(db: &Database) {
    assert!(
        !db.metadata
            .delete_tag(&name("a"), &tag("v1"), NOW)
            .await
            .unwrap()
    );
    db.put(tagged(manifest("a", 100), &["v1"])).await;
    assert!(db.get("a", "v1").await.is_some());
    assert!(
        db.metadata
            .delete_tag(&name("a"), &tag("v1"), NOW)
            .await
            .unwrap()
    );
    assert!(
        !db.metadata
            .delete_tag(&name("a"), &tag("v1"), NOW)
            .await
            .unwrap()
    );
    assert_eq!(db.get("a", "v1").await, None);
    assert!(db.get("a", &digest(100).to_string()).await.is_some());
    assert_eq!(
        db.metadata.tags(&name("a"), None, 10).await.unwrap(),
        Some(vec![])
    );
}
