//! A database that moves from one engine to the other and back.

use std::path::Path;

use holdfast_metadata::{
    Error, Location, Metadata, Options, PostgresOptions, Pull, UploadProgress, copy_database,
};
use holdfast_tests::{Postgres, PostgresDatabase};

use crate::fixture::*;

/// Something in most tables.
async fn fill(db: &Database) {
    for repository in ["a", "a/b"] {
        for blob in 0..3 {
            db.link(repository, digest(blob)).await;
        }
        for number in 0..700 {
            let mut image = tagged(manifest(repository, 100 + number), &[&format!("v{number}")]);
            image.blobs = vec![layer(digest(number % 3))];
            image.annotations_json = Some("{\"a\":\"ä\"}".to_owned());
            db.put(image).await;
        }
        let mut index = manifest(repository, 5000);
        index.children = vec![child(digest(100)), child(digest(101))];
        db.put(index).await;
        db.metadata
            .delete_manifest(&name(repository), &digest(102), NOW)
            .await
            .unwrap();
    }
    db.metadata.create_upload(upload("a", 7)).await.unwrap();
    let progress = UploadProgress {
        offset: 5,
        hash_state: Some(vec![0, 255]),
        backend_state: Some("part 1".to_owned()),
        doubtful: true,
    };
    let saved = db.metadata.save_upload(upload_id(7), 0, progress, later(1));
    assert!(saved.await.unwrap());
    db.metadata.begin_adoption(false, true, NOW).await.unwrap();
    db.metadata.put_setting("secret", "x'y\\z").await.unwrap();
    let pull = Pull {
        repository: name("a"),
        digest: digest(100),
        at: NOW,
    };
    db.metadata.record_pulls(vec![pull]).await.unwrap();
}

fn in_postgres(database: &PostgresDatabase) -> Location {
    let options = PostgresOptions::new(database.connection(), clock);
    Location::Postgres(Box::new(options))
}

/// Every row of a file, as text.
fn rows(path: &Path, tables: &[String]) -> Vec<String> {
    let connection = rusqlite::Connection::open(path).unwrap();
    let mut all = Vec::new();
    for table in tables {
        let sql = format!("SELECT * FROM {table}");
        let mut statement = connection.prepare(&sql).unwrap();
        let columns = statement.column_count();
        let rows = statement
            .query_map([], |row| {
                let value = |column| row.get::<_, rusqlite::types::Value>(column).unwrap();
                let values: Vec<_> = (0..columns).map(value).collect();
                Ok(format!("{table} {values:?}"))
            })
            .unwrap();
        all.extend(rows.map(Result::unwrap));
    }
    all.sort();
    all
}

#[tokio::test]
async fn a_database_moves_to_postgresql_and_back_whole() {
    let directory = tempfile::tempdir().unwrap();
    let (first, second) = (
        directory.path().join("first.db"),
        directory.path().join("second.db"),
    );
    let open = async |path: &Path| {
        let location = Location::File(path.to_owned());
        Metadata::open(Options::new(location, 1), NOW)
            .await
            .unwrap()
    };
    let db = Database::of(open(&first).await);
    fill(&db).await;
    db.metadata.close().await.unwrap();
    drop(db);
    let database = Postgres::shared().database();
    let (file, postgres) = (Location::File(first.clone()), in_postgres(&database));
    let copied = copy_database(&file, &postgres, NOW).await.unwrap();

    let tables: Vec<String> = copied.iter().map(|one| one.table.clone()).collect();
    let there = database.query(
        "SELECT string_agg(table_name, ',' ORDER BY table_name COLLATE \"C\") FROM information_schema.tables
         WHERE table_schema = 'public' AND table_name <> 'schema_versions'",
    );
    let mut sorted = tables.clone();
    sorted.sort();
    assert_eq!(sorted.join(","), there, "every table is copied");
    let count = |table: &str| copied.iter().find(|one| one.table == table).unwrap().rows;
    assert_eq!((count("manifests"), count("uploads")), (1400, 1));

    // What moved is served.
    let moved = Database::of(node(&database, 1).await);
    assert_eq!(moved.get("a/b", "v5").await.unwrap(), "105");
    assert_eq!(
        moved.metadata.setting("secret").await.unwrap().as_deref(),
        Some("x'y\\z")
    );
    // Not while somebody has it.
    let back = Location::File(second.clone());
    let refused = copy_database(&postgres, &back, NOW).await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    moved.metadata.close().await.unwrap();
    drop(moved);
    let others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                  AND application_name = 'holdfast'";
    while database.query(others) != "0" {
        tokio::task::yield_now().await;
    }
    assert_eq!(copy_database(&postgres, &back, NOW).await.unwrap(), copied);
    assert_eq!(rows(&second, &tables), rows(&first, &tables));
    // The second time it is not empty.
    let refused = copy_database(&postgres, &back, NOW).await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
}
