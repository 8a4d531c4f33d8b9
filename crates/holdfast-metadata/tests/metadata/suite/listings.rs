//! What comes in pages: tags, the catalog, referrers.

use super::on_every_engine;
use crate::fixture::*;

on_every_engine!(
    tags_come_in_pages_in_byte_order,
    a_hundred_thousand_tags_page_correctly,
    the_catalog_lists_repositories_with_manifests,
    referrers_are_listed_by_subject_and_type,
);

async fn tags_come_in_pages_in_byte_order(db: &Database) {
    let tags = async |after, limit| db.metadata.tags(&name("a"), after, limit).await.unwrap();
    assert_eq!(tags(None, 10).await, None);
    db.metadata.create_upload(upload("a", 1)).await.unwrap();
    assert_eq!(
        tags(None, 10).await,
        None,
        "an upload makes no repository for clients"
    );
    db.put(tagged(
        manifest("a", 100),
        &["b", "B", "a-1", "a.1", "_", "10", "9", "a"],
    ))
    .await;
    let all = ["10", "9", "B", "_", "a", "a-1", "a.1", "b"]
        .map(str::to_owned)
        .to_vec();
    // Whatever a client asks to go on after.
    assert_eq!(tags(Some("\0"), 10).await.unwrap(), all);
    assert_eq!(tags(Some("a\0b"), 10).await.unwrap(), all[5..]);
    assert_eq!(tags(None, 100).await.unwrap(), all);
    assert_eq!(tags(None, 3).await.unwrap(), all[..3]);
    assert_eq!(tags(Some("B"), 3).await.unwrap(), all[3..6]);
    assert_eq!(
        tags(Some("C"), 3).await.unwrap(),
        all[3..6],
        "the name need not exist"
    );
    assert_eq!(tags(Some("b"), 3).await.unwrap(), Vec::<String>::new());
    assert_eq!(tags(None, 0).await.unwrap(), Vec::<String>::new());
    db.metadata
        .delete_manifest(&name("a"), &digest(100), NOW)
        .await
        .unwrap();
    assert_eq!(
        tags(None, 10).await,
        Some(vec![]),
        "an emptied repository is still known"
    );
}

async fn a_hundred_thousand_tags_page_correctly(db: &Database) {
    const TAGS: usize = 100_000;
    const AT_ONCE: usize = 10_000;
    for start in (0..TAGS).step_by(AT_ONCE) {
        let mut image = manifest("a", 100);
        image.tags = (start..start + AT_ONCE)
            .map(|number| tag(&format!("build-{number}")))
            .collect();
        db.put(image).await;
    }
    let mut wanted: Vec<String> = (0..TAGS).map(|number| format!("build-{number}")).collect();
    wanted.sort();
    let mut seen: Vec<String> = Vec::new();
    loop {
        let page = db
            .metadata
            .tags(&name("a"), seen.last().map(String::as_str), 997)
            .await
            .unwrap()
            .unwrap();
        if page.is_empty() {
            break;
        }
        seen.extend(page);
    }
    assert!(seen == wanted);
}

async fn the_catalog_lists_repositories_with_manifests(db: &Database) {
    let catalog = async |after, limit| db.metadata.repositories(after, limit).await.unwrap();
    assert!(catalog(None, 10).await.is_empty());
    db.link("only-a-blob", digest(1)).await;
    for repository in ["t/a", "t-a", "t/a/b", "b"] {
        db.put(manifest(repository, 100)).await;
    }
    db.put(manifest("t/a", 101)).await;
    assert_eq!(catalog(None, 10).await, ["b", "t-a", "t/a", "t/a/b"]);
    assert_eq!(catalog(None, 2).await, ["b", "t-a"]);
    assert_eq!(catalog(Some("t-a"), 2).await, ["t/a", "t/a/b"]);
    assert_eq!(catalog(Some("c"), 1).await, ["t-a"]);
    assert!(catalog(Some("t/a/b"), 2).await.is_empty());
    db.metadata
        .delete_manifest(&name("t/a"), &digest(100), NOW)
        .await
        .unwrap();
    assert!(catalog(None, 10).await.contains(&"t/a".to_owned()));
    db.metadata
        .delete_manifest(&name("t/a"), &digest(101), NOW)
        .await
        .unwrap();
    assert_eq!(catalog(None, 10).await, ["b", "t-a", "t/a/b"]);
    db.put(manifest("t/a", 100)).await;
    assert_eq!(catalog(None, 10).await, ["b", "t-a", "t/a", "t/a/b"]);
}

async fn referrers_are_listed_by_subject_and_type(db: &Database) {
    for number in 200..230_u64 {
        let mut referrer = manifest("a", number);
        referrer.subject = Some(digest(100));
        referrer.artifact_type =
            (number % 3 != 0).then(|| format!("application/type-{}", number % 3));
        referrer.annotations_json = Some(format!("{{\"n\":\"{number}\"}}"));
        db.put(referrer).await;
    }
    db.put(manifest("a", 300)).await;
    let list = async |repository, subject, kind, after: Option<u64>, limit| {
        let after = after.map(digest);
        let page = db
            .metadata
            .referrers(
                &name(repository),
                &digest(subject),
                kind,
                after.as_ref(),
                limit,
            )
            .await
            .unwrap();
        page.entries
            .iter()
            .map(|one| u64::from_be_bytes(one.digest.hash()[..8].try_into().unwrap()))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        list("a", 100, None, None, 100).await,
        (200..230).collect::<Vec<_>>()
    );
    assert_eq!(
        list("a", 100, None, Some(209), 5).await,
        (210..215).collect::<Vec<_>>()
    );
    assert_eq!(
        list("a", 100, Some("application/type-1"), None, 3).await,
        [202, 205, 208]
    );
    assert_eq!(
        list("a", 100, Some("application/type-1"), Some(208), 2).await,
        [211, 214]
    );
    assert!(list("a", 100, Some("none"), None, 3).await.is_empty());
    assert!(list("a", 101, None, None, 3).await.is_empty());
    assert!(list("b", 100, None, None, 3).await.is_empty());
    db.metadata
        .delete_manifest(&name("a"), &digest(200), NOW)
        .await
        .unwrap();
    let first = &db
        .metadata
        .referrers(&name("a"), &digest(100), None, None, 1)
        .await
        .unwrap()
        .entries[0];
    assert_eq!((first.digest, first.size), (digest(201), 3));
    assert_eq!(first.annotations_json.as_deref(), Some("{\"n\":\"201\"}"));
    assert_eq!(first.artifact_type, None);
}
