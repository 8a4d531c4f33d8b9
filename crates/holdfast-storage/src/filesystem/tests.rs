//! What the directory looks like, and what happens when it is not as it should be.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use holdfast_model::{Digest, Hasher};
use tempfile::TempDir;

use super::upload_buffers::UPLOAD_BUFFER_BYTES;
use super::*;
use crate::Listed;

fn upload(number: u8) -> UploadId {
    UploadId::from_random([number; 16])
}

fn sha256(content: &[u8]) -> Digest {
    Hasher::digest(Algorithm::Sha256, content)
}

/// An upload with these bytes.
async fn stage(store: &Filesystem, id: UploadId, content: &[u8]) -> Box<dyn UploadWriter> {
    store.begin_upload(id).await.unwrap();
    let mut writer = store
        .resume_upload(id, None, Algorithm::Sha256)
        .await
        .unwrap();
    writer.write(Bytes::copy_from_slice(content)).await.unwrap();
    writer
}

async fn push(store: &Filesystem, content: &[u8]) -> StorageKey {
    let key = StorageKey::canonical(&sha256(content));
    let writer = stage(store, upload(1), content).await;
    writer.commit(&key).await.unwrap();
    key
}

/// Every file below the root, sorted.
fn tree(root: &Path) -> Vec<String> {
    fn walk(root: &Path, directory: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => walk(root, &path, found),
                false => found.push(
                    path.strip_prefix(root)
                        .unwrap()
                        .to_str()
                        .unwrap()
                        .to_owned(),
                ),
            }
        }
    }
    let mut found = Vec::new();
    walk(root, root, &mut found);
    // Notes come and go in their own time.
    found.retain(|file| !file.starts_with("holdfast/committing/"));
    found.sort();
    found
}

/// Makes the next opening believe that the machine restarted.
fn pretend_restart(root: &Path) {
    fs::write(root.join("holdfast/lock"), "1\nanother-boot\n").unwrap();
}

#[tokio::test]
async fn keeps_what_every_store_promises() {
    let root = TempDir::new().unwrap();
    crate::suite::run(async || Filesystem::open(root.path(), true).unwrap() as Arc<dyn BlobStore>)
        .await;
}

#[tokio::test]
async fn keeps_it_through_the_page_cache() {
    let root = TempDir::new().unwrap();
    let open = async || Filesystem::open(root.path(), false).unwrap() as Arc<dyn BlobStore>;
    crate::suite::run(open).await;
}

#[tokio::test]
async fn keeps_it_across_restarts_of_the_machine_too() {
    let root = TempDir::new().unwrap();
    let open = async || {
        if root.path().join("holdfast").exists() {
            pretend_restart(root.path());
        }
        Filesystem::open(root.path(), true).unwrap() as Arc<dyn BlobStore>
    };
    crate::suite::run(open).await;
}

#[tokio::test]
async fn keeps_it_without_reading_inline() {
    let root = TempDir::new().unwrap();
    let open = async || {
        let store = Filesystem::open(root.path(), true).unwrap();
        store.shared.inline_reads.forbid();
        store as Arc<dyn BlobStore>
    };
    crate::suite::run(open).await;
}

#[tokio::test]
async fn a_commit_without_a_record_is_told_at_the_next_start() {
    let root = TempDir::new().unwrap();
    let store = Filesystem::open(root.path(), true).unwrap();
    let key = push(&store, b"abc").await;
    let (id, _) = store.unsettled_commits().await.unwrap()[0].clone();
    drop(store);
    let store = Filesystem::open(root.path(), true).unwrap();
    let told = store.unsettled_commits().await.unwrap();
    assert_eq!(told, [(id, key.clone())]);
    store.settle_commit(id, &key);
    let other = push(&store, b"other").await;
    let told = store.unsettled_commits().await.unwrap();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].1, other);
}

#[tokio::test]
async fn the_tree_is_as_drawn() {
    let root = TempDir::new().unwrap();
    let store = Filesystem::open(root.path().join("made/here"), true).unwrap();
    let root = root.path().join("made/here");
    assert_eq!(tree(&root), ["holdfast/lock"]);

    let key = push(&store, b"abc").await;
    let writer = stage(&store, upload(2), b"abc").await;
    let saved = writer.suspend().await.unwrap();
    let hex = sha256(b"abc").hex();
    let data = format!("docker/registry/v2/blobs/sha256/ba/{hex}/data");
    let staged = format!("holdfast/uploads/{}", upload(2));
    assert_eq!(tree(&root), [&data, "holdfast/lock", &staged]);

    let beside = StorageKey::incarnation(&sha256(b"abc"), [0xab; 16]);
    let again = store.resume_upload(upload(2), Some(saved), Algorithm::Sha256);
    again.await.unwrap().commit(&beside).await.unwrap();
    let second = format!("{data}.{}", "ab".repeat(16));
    assert_eq!(tree(&root), [&data, &second, "holdfast/lock"]);

    store.delete(&[key]).await.unwrap();
    assert_eq!(tree(&root), [&second, "holdfast/lock"]);
    store.delete(&[beside]).await.unwrap();
    assert_eq!(tree(&root), ["holdfast/lock"]);
    let prefix = root.join("docker/registry/v2/blobs/sha256/ba");
    assert_eq!(
        fs::read_dir(prefix).unwrap().count(),
        0,
        "the digest's directory is gone"
    );
    store.probe().await.unwrap();
    assert_eq!(tree(&root), ["holdfast/lock"]);
}

#[tokio::test]
async fn a_second_store_is_refused_while_the_first_lives() {
    let root = TempDir::new().unwrap();
    let first = Filesystem::open(root.path(), true).unwrap();
    let refused = Filesystem::open(root.path(), true).unwrap_err();
    assert!(
        matches!(refused, Error::Locked { holder: Some(pid), .. } if pid == std::process::id()),
        "{refused:?}"
    );
    assert!(refused.to_string().ends_with(&format!(
        "holdfast/lock is in use by process {}",
        std::process::id()
    )));

    let key = push(&first, b"abc").await;
    let reader = first.open(&key).await.unwrap();
    drop(first);
    assert!(
        Filesystem::open(root.path(), true).is_err(),
        "a download still runs"
    );
    drop(reader);
    Filesystem::open(root.path(), true).unwrap();
}

#[tokio::test]
async fn a_linked_root_and_a_linked_directory_within_are_followed() {
    let real = TempDir::new().unwrap();
    let root = real.path().join("link");
    for directory in ["data", "docker"] {
        fs::create_dir(real.path().join(directory)).unwrap();
    }
    symlink("data", &root).unwrap();
    symlink("../docker", root.join("docker")).unwrap();
    let store = Filesystem::open(&root, true).unwrap();
    let key = push(&store, b"abc").await;
    assert_eq!(store.size(&key).await.unwrap(), Some(3));
    assert!(
        real.path()
            .join("docker/registry/v2/blobs/sha256/ba")
            .exists()
    );
}

#[tokio::test]
async fn a_recorded_hash_is_not_trusted_after_a_restart_of_the_machine() {
    let root = TempDir::new().unwrap();
    let name = upload(1).to_string();
    let after_loss: &[u8] = b"wr\0\0\0en";
    for restart in [false, true] {
        let store = Filesystem::open(root.path(), true).unwrap();
        let writer = stage(&store, upload(1), b"written").await;
        let saved = writer.suspend().await.unwrap();
        drop(store);
        // What a power loss may leave: the right length, and a hole.
        fs::write(root.path().join("holdfast/uploads").join(&name), after_loss).unwrap();
        if restart {
            pretend_restart(root.path());
        }
        let expected: &[u8] = if restart { after_loss } else { b"written" };
        // However often the server alone starts again after that.
        for _ in 0..3 {
            let store = Filesystem::open(root.path(), true).unwrap();
            assert_eq!(store.staged_uploads().await.unwrap(), [upload(1)]);
            let mut writer = store
                .resume_upload(upload(1), Some(saved.clone()), Algorithm::Sha256)
                .await
                .unwrap();
            let digest = writer.digest(Algorithm::Sha256).await.unwrap();
            assert_eq!(digest, sha256(expected));
        }
        assert_eq!(
            root.path().join("holdfast/unverified").join(&name).exists(),
            restart
        );
        Filesystem::open(root.path(), true)
            .unwrap()
            .abort_upload(upload(1))
            .await
            .unwrap();
        assert_eq!(tree(root.path()), ["holdfast/lock"]);
    }
}

#[tokio::test]
async fn a_cancelled_request_does_not_disturb_the_next() {
    let root = TempDir::new().unwrap();
    let store = Filesystem::open(root.path(), true).unwrap();
    store.begin_upload(upload(1)).await.unwrap();
    let content = vec![7_u8; 3 * UPLOAD_BUFFER_BYTES];
    let mut writer = store
        .resume_upload(upload(1), None, Algorithm::Sha256)
        .await
        .unwrap();
    writer.write(content.clone().into()).await.unwrap();
    // The last buffer is still being written.
    drop(writer);
    let mut writer = store
        .resume_upload(upload(1), None, Algorithm::Sha256)
        .await
        .unwrap();
    let kept = usize::try_from(writer.offset()).unwrap();
    assert!(kept >= 2 * UPLOAD_BUFFER_BYTES && kept.is_multiple_of(UPLOAD_BUFFER_BYTES));
    writer
        .write(Bytes::copy_from_slice(&content[kept..]))
        .await
        .unwrap();
    let digest = writer.digest(Algorithm::Sha256).await.unwrap();
    assert_eq!(digest, sha256(&content));
}

#[tokio::test]
async fn a_shortened_blob_is_truncated_never_silent() {
    let root = TempDir::new().unwrap();
    let store = Filesystem::open(root.path(), true).unwrap();
    let key = push(&store, &vec![1; 100_000]).await;
    for inline in [true, false] {
        if !inline {
            store.shared.inline_reads.forbid();
        }
        let path = root.path().join(key.as_str());
        fs::write(&path, vec![1; 100_000]).unwrap();
        let reader = store.open(&key).await.unwrap();
        fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(40_000)
            .unwrap();
        assert_eq!(reader.read_at(0, 100_000).await.unwrap().len(), 40_000);
        let error = reader.read_at(40_000, 100_000).await.unwrap_err();
        assert!(
            matches!(
                error,
                Error::Truncated {
                    size: 100_000,
                    end: 40_000,
                    ..
                }
            ),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_unavailable_not_absent() {
    let root = TempDir::new().unwrap();
    let store = Filesystem::open(root.path(), true).unwrap();
    let key = push(&store, b"abc").await;
    let path = root.path().join(key.as_str());
    let unavailable = |outcome: Result<()>| {
        assert!(
            matches!(outcome, Err(Error::Unavailable { .. })),
            "{outcome:?}"
        )
    };

    // A loop of links fails for every user; permissions do not stop root.
    fs::remove_file(&path).unwrap();
    symlink("data", &path).unwrap();
    unavailable(store.open(&key).await.map(drop));
    unavailable(store.size(&key).await.map(drop));

    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    unavailable(store.open(&key).await.map(drop));
    unavailable(store.size(&key).await.map(drop));
    unavailable(store.delete(std::slice::from_ref(&key)).await);

    fs::remove_dir(&path).unwrap();
    fs::write(&path, b"abc").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::File::open(&path).is_err() {
        unavailable(store.open(&key).await.map(drop));
    }
}

#[tokio::test]
async fn a_directory_that_went_away_is_an_outage() {
    let place = TempDir::new().unwrap();
    let (root, aside) = (place.path().join("root"), place.path().join("aside"));
    let store = Filesystem::open(&root, true).unwrap();
    let key = push(&store, b"abc").await;
    let keys = std::slice::from_ref(&key);
    fs::rename(&root, &aside).unwrap();
    for replaced in [false, true] {
        if replaced {
            drop(Filesystem::open(&root, true).unwrap());
        }
        let outcomes = [
            store.open(&key).await.map(drop),
            store.size(&key).await.map(drop),
            store.delete(keys).await,
            store.abort_upload(upload(1)).await,
            store
                .resume_upload(upload(1), None, Algorithm::Sha256)
                .await
                .map(drop),
        ];
        for outcome in outcomes {
            assert!(
                matches!(outcome, Err(Error::Unavailable { .. })),
                "{outcome:?}"
            );
        }
    }
    fs::remove_dir_all(&root).unwrap();
    fs::rename(&aside, &root).unwrap();
    assert_eq!(store.size(&key).await.unwrap(), Some(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_and_deletions_of_one_digest_may_meet() {
    let root = TempDir::new().unwrap();
    let store = Filesystem::open(root.path(), true).unwrap();
    let digest = sha256(b"abc");
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..40 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let key = StorageKey::incarnation(&digest, [number; 16]);
            let writer = stage(&store, upload(number), b"abc").await;
            writer.commit(&key).await.unwrap();
            assert_eq!(store.size(&key).await.unwrap(), Some(3));
            store.delete(&[key]).await.unwrap();
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    assert_eq!(tree(root.path()), ["holdfast/lock"]);
}

/// A listing to its end, each entry as a word and a path below `directory`, sorted.
async fn listed(mut listing: Box<dyn Listing>, directory: &str) -> Vec<String> {
    let mut found = Vec::new();
    loop {
        let batch = listing.next().await.unwrap();
        if batch.is_empty() {
            break;
        }
        for entry in batch {
            let (kind, path) = match entry {
                Listed::Object { key, .. } => ("object", key.to_string()),
                Listed::Directory { key } => ("directory", key.to_string()),
                Listed::Foreign { path } => ("foreign", path),
                Listed::Unreadable { path, .. } => ("unreadable", path),
            };
            let at = path.find(directory).unwrap() + directory.len() + 1;
            found.push(format!("{kind} {}", &path[at..]));
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn a_listing_tells_what_it_cannot_name_or_read() {
    let root = TempDir::new().unwrap();
    let store = Filesystem::open(root.path(), true).unwrap();
    let at = |name: &str| root.path().join("a").join(name);
    for directory in ["deep/er", "empty", "with space/x", "elsewhere"] {
        fs::create_dir_all(at(directory)).unwrap();
    }
    for file in [
        "one",
        "Deep.TMP",
        "deep/two",
        "deep/er/three",
        "with space/x/four",
        "c+d",
    ] {
        fs::write(at(file), "x").unwrap();
    }
    fs::create_dir(root.path().join("linked")).unwrap();
    fs::write(root.path().join("linked/five"), "x").unwrap();
    symlink("../linked", at("link")).unwrap();
    symlink("../../linked/five", at("elsewhere/file")).unwrap();
    symlink("..", at("deep/back")).unwrap();
    symlink("nowhere", at("dangling")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        at("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let directory: StorageKey = "a".parse().unwrap();
    let all = listed(store.list(&directory).await.unwrap(), "a").await;
    let expected = [
        "foreign c+d",
        "foreign with space",
        "object Deep.TMP",
        "object deep/er/three",
        "object deep/two",
        "object elsewhere/file",
        "object link/five",
        "object one",
        "unreadable dangling",
        "unreadable deep/back",
        "unreadable pipe",
    ];
    assert_eq!(all, expected);
    let below = listed(store.children(&directory).await.unwrap(), "a").await;
    let expected = [
        "directory deep",
        "directory elsewhere",
        "directory empty",
        "directory link",
        "foreign c+d",
        "foreign with space",
        "object Deep.TMP",
        "object one",
        "unreadable dangling",
        "unreadable pipe",
    ];
    assert_eq!(below, expected);
}

#[tokio::test]
async fn a_directory_tells_when_it_changed() {
    let root = TempDir::new().unwrap();
    let store = Filesystem::open(root.path(), true).unwrap();
    let directory: StorageKey = "a/b".parse().unwrap();
    assert_eq!(store.modified(&directory).await.unwrap(), None);
    let path = root.path().join("a/b");
    fs::create_dir_all(&path).unwrap();
    let at = std::time::UNIX_EPOCH + std::time::Duration::from_millis(1_700_000_000_123);
    fs::File::open(&path).unwrap().set_modified(at).unwrap();
    let modified = store.modified(&directory).await.unwrap();
    assert_eq!(modified.unwrap().as_micros(), 1_700_000_000_123_000);
    fs::write(path.join("c"), "x").unwrap();
    assert!(store.modified(&directory).await.unwrap() > modified);
    let file: StorageKey = "a/b/c".parse().unwrap();
    assert_eq!(store.modified(&file).await.unwrap(), None);
}

#[tokio::test]
async fn a_listing_of_another_disk_is_no_empty_listing() {
    let root = TempDir::new().unwrap();
    let store = Filesystem::open(root.path(), true).unwrap();
    fs::remove_file(root.path().join("holdfast/lock")).unwrap();
    let directory: StorageKey = "a".parse().unwrap();
    let listed = store.list(&directory).await.unwrap().next().await;
    assert!(
        matches!(listed, Err(Error::Unavailable { .. })),
        "{listed:?}"
    );
}

/// A pull may see what is in memory; a check sees what is there.
#[tokio::test]
async fn what_is_hashed_is_what_the_file_holds_now() {
    let root = tempfile::tempdir().unwrap();
    let store = Filesystem::open(root.path(), true).unwrap();
    let key: StorageKey = "blobs/a".parse().unwrap();
    let content = vec![7; 3_000_000];
    fs::create_dir_all(root.path().join("blobs")).unwrap();
    fs::write(root.path().join("blobs/a"), &content).unwrap();
    let reader = store.open(&key).await.unwrap();
    let hash = async || {
        let hasher = Hasher::new(Algorithm::Sha256);
        reader.hash_at(0, u64::MAX, hasher).await
    };
    let (found, length) = hash().await.unwrap();
    assert_eq!(length, 3_000_000);
    assert_eq!(found.finish(), Hasher::digest(Algorithm::Sha256, &content));
    let file = fs::File::options()
        .write(true)
        .open(root.path().join("blobs/a"))
        .unwrap();
    std::os::unix::fs::FileExt::write_at(&file, &[8], 1_234_567).unwrap();
    let (found, _) = hash().await.unwrap();
    assert_ne!(found.finish(), Hasher::digest(Algorithm::Sha256, &content));
    file.set_len(2_000_000).unwrap();
    let cut = hash().await.unwrap_err();
    assert!(matches!(cut, Error::Truncated { end: 2_000_000, .. }));
    // Another file under the same name is not this object.
    fs::remove_file(root.path().join("blobs/a")).unwrap();
    fs::write(root.path().join("blobs/a"), b"other").unwrap();
    let cut = hash().await.unwrap_err();
    assert!(matches!(cut, Error::Truncated { end: 2_000_000, .. }));
}
