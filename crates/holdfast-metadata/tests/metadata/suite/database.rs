//! The database as a whole.

use holdfast_metadata::PutOutcome;

use super::on_every_engine;
use crate::fixture::*;

on_every_engine!(
    a_setting_is_made_once,
    a_closed_database_refuses_changes,
    changes_side_by_side_all_arrive,
);

async fn a_setting_is_made_once(db: &Database) {
    assert_eq!(
        db.metadata
            .get_or_insert_setting("secret", "one")
            .await
            .unwrap(),
        "one"
    );
    assert_eq!(
        db.metadata
            .get_or_insert_setting("secret", "two")
            .await
            .unwrap(),
        "one"
    );
    assert_eq!(
        db.metadata
            .get_or_insert_setting("other", "two")
            .await
            .unwrap(),
        "two"
    );
}

async fn a_closed_database_refuses_changes(db: &Database) {
    db.put(tagged(manifest("a", 100), &["v1"])).await;
    db.metadata.close().await.unwrap();
    db.metadata.close().await.unwrap();
    let refused = db.metadata.put_manifest(manifest("a", 101)).await;
    assert!(
        matches!(refused, Err(holdfast_metadata::Error::Closed)),
        "{refused:?}"
    );
    assert_eq!(db.get("a", "v1").await.unwrap(), "100");
}

async fn changes_side_by_side_all_arrive(db: &Database) {
    let tasks: Vec<_> = (0..200_u64)
        .map(|number| {
            let metadata = db.metadata.clone();
            tokio::spawn(async move {
                let repository = format!("r{}", number % 7);
                let new = digest(number);
                metadata
                    .link_blob(blob(&repository, new, &number.to_string()))
                    .await
                    .unwrap();
                let mut image = tagged(
                    manifest(&repository, 1000 + number),
                    &[&format!("t{number}")],
                );
                image.blobs = vec![layer(new)];
                metadata.put_manifest(image).await.unwrap()
            })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), PutOutcome::Stored { created: true });
    }
    for number in 0..200 {
        let found = db
            .get(&format!("r{}", number % 7), &format!("t{number}"))
            .await
            .unwrap();
        assert_eq!(found, (1000 + number).to_string());
    }
    let counters = db.metadata.counters();
    assert!(
        counters.commits <= counters.changes && counters.changes >= 400 && counters.waiting == 0,
        "{counters:?}"
    );
}
