//! A process that dies at once loses nothing it acknowledged.

use std::io::Write as _;
use std::process::{Command, Stdio};

use holdfast_metadata::{Location, Metadata, Options, UploadProgress};

use crate::fixture::*;

const PATH_VARIABLE: &str = "HOLDFAST_TEST_ABORT_PATH";
const MANIFESTS: u64 = 50;

/// Not a test of its own: what the child process of the next test does.
#[tokio::test(flavor = "multi_thread")]
async fn child_that_aborts() {
    let Some(path) = std::env::var_os(PATH_VARIABLE) else {
        return;
    };
    let metadata = Metadata::open(Options::new(Location::File(path.into()), 1), NOW)
        .await
        .unwrap();
    metadata.create_upload(upload("a", 1)).await.unwrap();
    let progress = UploadProgress {
        offset: 4096,
        hash_state: Some(vec![7]),
        backend_state: None,
        doubtful: false,
    };
    metadata
        .save_upload(upload_id(1), 0, progress, later(9))
        .await
        .unwrap();
    for number in 0..MANIFESTS {
        metadata
            .link_blob(blob("a", digest(number), &number.to_string()))
            .await
            .unwrap();
        let mut image = tagged(manifest("a", 1000 + number), &[&format!("t{number}")]);
        image.blobs = vec![layer(digest(number))];
        metadata.put_manifest(image).await.unwrap();
    }
    std::io::stdout().flush().unwrap();
    std::process::abort();
}

#[tokio::test]
async fn acknowledged_changes_survive_an_abort() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("metadata.db");
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::child_that_aborts"])
        .env(PATH_VARIABLE, &path)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(!status.success(), "the child aborts");

    let metadata = Metadata::open(Options::new(Location::File(path), 1), NOW)
        .await
        .unwrap();
    let session = metadata
        .upload(&name("a"), upload_id(1))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((session.offset, session.hash_state), (4096, Some(vec![7])));
    for number in 0..MANIFESTS {
        let found = metadata
            .manifest(&name("a"), &format!("t{number}").parse().unwrap())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(found.digest, digest(1000 + number));
        assert!(
            metadata
                .blob(&name("a"), &digest(number), NOW)
                .await
                .unwrap()
                .is_some()
        );
    }
    metadata.close().await.unwrap();
}

#[tokio::test]
async fn a_closed_database_opens_again_and_a_newer_one_does_not() {
    let db = Database::file().await;
    db.put(tagged(manifest("a", 100), &["v1"])).await;
    db.metadata.close().await.unwrap();
    let open = async || Metadata::open(Options::new(Location::File(db.path()), 1), NOW).await;
    let again = open().await.unwrap();
    assert!(
        again
            .manifest(&name("a"), &"v1".parse().unwrap())
            .await
            .unwrap()
            .is_some()
    );
    again.close().await.unwrap();
    db.sql()
        .execute(
            "INSERT INTO schema_versions VALUES (99, 'later', x'00', 0)",
            [],
        )
        .unwrap();
    let refused = open().await.unwrap_err();
    assert!(
        matches!(
            refused,
            holdfast_metadata::Error::NewerSchema { found: 99, .. }
        ),
        "{refused}"
    );
    let elsewhere = Location::File(db.path().join("no/such/directory.db"));
    let refused = Metadata::open(Options::new(elsewhere, 1), NOW)
        .await
        .unwrap_err();
    assert!(
        matches!(refused, holdfast_metadata::Error::Unavailable(_)),
        "{refused:?}"
    );
    std::fs::write(
        db.path().with_extension("txt"),
        "this is no database, however long it may be".repeat(50),
    )
    .unwrap();
    let text = Location::File(db.path().with_extension("txt"));
    let refused = Metadata::open(Options::new(text, 1), NOW)
        .await
        .unwrap_err();
    assert!(
        matches!(refused, holdfast_metadata::Error::Corrupt(_)),
        "{refused:?}"
    );
}
