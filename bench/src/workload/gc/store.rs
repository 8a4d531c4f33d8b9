//! Stores with many manifests, written where a server keeps them: pushing them would take hours.
//!
//! Every manifest has a tag and three blobs that no other manifest has. For Holdfast they are rows of its
//! database, for Distribution its link files and manifests.

use std::fs;
use std::path::Path;

use rusqlite::{Connection, params};
use sha2::{Digest as _, Sha256};

use crate::Result;
use crate::content::digest;
use crate::workload::{CONFIG_TYPE, LAYER_TYPE, MANIFEST_TYPE};

const REPOSITORIES: usize = 100;
const BLOBS: usize = 3;
const TYPES: [&str; BLOBS] = [CONFIG_TYPE, LAYER_TYPE, LAYER_TYPE];
/// `Algorithm::code` of SHA-256.
const SHA256: u8 = 1;
/// Memory for SQLite's pages while a database is filled.
const CACHE_KIB: i64 = 1_500_000;
const BLOBS_DIRECTORY: &str = "data/docker/registry/v2/blobs/sha256";

/// The repository of a manifest; neighbours are in different ones.
pub(super) fn repository(number: usize) -> String {
    format!("gc/r{:03}", number % REPOSITORIES)
}

pub(super) fn tag(number: usize) -> String {
    format!("v{number}")
}

fn blob(number: usize, position: usize) -> String {
    format!("blob {position} of manifest {number:08}")
}

pub(super) fn blob_digest(number: usize, position: usize) -> String {
    digest(Sha256::new_with_prefix(blob(number, position)))
}

pub(super) fn manifest(number: usize) -> String {
    let descriptor = |position: usize| {
        let (media_type, digest) = (TYPES[position], blob_digest(number, position));
        let size = blob(number, position).len();
        format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{size}}}"#)
    };
    let (config, one, other) = (descriptor(0), descriptor(1), descriptor(2));
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST_TYPE}","config":{config},"layers":[{one},{other}]}}"#
    )
}

pub(super) fn manifest_digest(number: usize) -> String {
    digest(Sha256::new_with_prefix(manifest(number)))
}

fn hex(digest: &str) -> &str {
    digest.strip_prefix("sha256:").unwrap_or(digest)
}

/// Where the bytes are, below the server's directory; also Distribution's manifests.
pub(super) fn file(digest: &str) -> String {
    let hex = hex(digest);
    format!("{BLOBS_DIRECTORY}/{}/{hex}/data", &hex[..2])
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    Ok(fs::write(path, bytes)?)
}

/// The files of the blobs of these manifests.
pub(super) fn write_blobs(home: &Path, numbers: std::ops::Range<usize>) -> Result<()> {
    for number in numbers {
        for position in 0..BLOBS {
            let path = home.join(file(&blob_digest(number, position)));
            write(&path, blob(number, position).as_bytes())?;
        }
    }
    Ok(())
}

/// These manifests as Distribution's file-system driver has them (its `registry/storage/paths.go`), but for
/// the index of each tag's past.
pub(super) fn write_links(home: &Path, numbers: std::ops::Range<usize>) -> Result<()> {
    for number in numbers {
        let manifest = manifest(number);
        let digest = digest(Sha256::new_with_prefix(&manifest));
        write(&home.join(file(&digest)), manifest.as_bytes())?;
        let repository = home
            .join("data/docker/registry/v2/repositories")
            .join(repository(number));
        let link = |place: String, digest: &str| {
            write(&repository.join(place).join("link"), digest.as_bytes())
        };
        for position in 0..BLOBS {
            let blob = blob_digest(number, position);
            link(format!("_layers/sha256/{}", hex(&blob)), &blob)?;
        }
        link(
            format!("_manifests/revisions/sha256/{}", hex(&digest)),
            &digest,
        )?;
        link(format!("_manifests/tags/{}/current", tag(number)), &digest)?;
    }
    Ok(())
}

/// A database for bulk changes while no server has it open. What is left half-done is not used.
fn open(database: &Path) -> Result<Connection> {
    let connection = Connection::open(database)?;
    connection.pragma_update(None, "foreign_keys", false)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update(None, "synchronous", "off")?;
    connection
        .pragma_update_and_check(None, "journal_mode", "off", |row| row.get::<_, String>(0))?;
    Ok(connection)
}

fn bytes_of(text: &[u8]) -> Vec<u8> {
    let mut bytes = vec![SHA256];
    bytes.extend_from_slice(&Sha256::digest(text));
    bytes
}

fn repo_id(number: usize) -> i64 {
    (number % REPOSITORIES) as i64 + 1
}

/// So many manifests, with all that belongs to them, as rows.
pub(super) fn write_rows(database: &Path, manifests: usize, now: i64) -> Result<()> {
    let mut connection = open(database)?;
    let tx = connection.transaction()?;
    {
        let mut insert = tx.prepare(
            "INSERT INTO repositories (id, namespace_id, path, population, created_at) VALUES (?1, 0, ?2, 1, ?3)",
        )?;
        for number in 0..REPOSITORIES.min(manifests) {
            insert.execute(params![repo_id(number), repository(number), now])?;
        }
        // Each table in the order of its key: nothing is then split or moved.
        let mut blobs = Vec::with_capacity(manifests * BLOBS);
        for number in 0..manifests {
            for position in 0..BLOBS {
                let bytes = blob(number, position);
                blobs.push((bytes_of(bytes.as_bytes()), number, bytes.len() as i64));
            }
        }
        blobs.sort_unstable();
        let mut insert = tx.prepare(
            "INSERT INTO blobs (digest, size_bytes, state, storage_key, created_at, state_at, verified_at)
             VALUES (?1, ?2, 0, ?3, ?4, ?4, ?4)",
        )?;
        let mut link = tx.prepare(
            "INSERT INTO repo_blobs (repo_id, digest, used, lease_until) VALUES (?1, ?2, 1, ?3)",
        )?;
        for (digest, _, size) in &blobs {
            let hex: String = digest[1..]
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            let key = file(&hex);
            let key = key.strip_prefix("data/").unwrap_or(&key);
            insert.execute(params![digest, size, key, now])?;
        }
        blobs.sort_unstable_by_key(|(_, number, _)| number % REPOSITORIES);
        for (digest, number, _) in &blobs {
            link.execute(params![repo_id(*number), digest, now])?;
        }
        drop(blobs);
        let mut insert = tx.prepare(
            "INSERT INTO manifests (repo_id, id, digest, media_type, image_size, pushed_at, payload)
             VALUES (?1, ?2, ?3, ?4, 100, ?5, ?6)",
        )?;
        let mut needs = tx.prepare(
            "INSERT INTO manifest_blobs (repo_id, manifest_id, position, digest, media_type, size_bytes)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        let mut tags = tx.prepare(
            "INSERT INTO tags (repo_id, name, manifest_id, created_at, updated_at) VALUES (?1, ?2, ?3, ?4, ?4)",
        )?;
        for first in 0..REPOSITORIES {
            for number in (first..manifests).step_by(REPOSITORIES) {
                let (repo_id, id) = (repo_id(number), number as i64 + 1);
                let payload = manifest(number);
                let digest = bytes_of(payload.as_bytes());
                insert.execute(params![
                    repo_id,
                    id,
                    digest,
                    MANIFEST_TYPE,
                    now,
                    payload.as_bytes()
                ])?;
                for (position, media_type) in (0_i64..).zip(TYPES) {
                    let bytes = blob(number, position as usize);
                    let digest = bytes_of(bytes.as_bytes());
                    needs.execute(params![
                        repo_id,
                        id,
                        position,
                        digest,
                        media_type,
                        bytes.len() as i64
                    ])?;
                }
                tags.execute(params![repo_id, tag(number), id, now])?;
            }
        }
    }
    Ok(tx.commit()?)
}

/// Takes manifests out as clients' deletions leave them: their links wait for the collector, their payloads in
/// the trash.
pub(super) fn delete_rows(
    database: &Path,
    numbers: std::ops::Range<usize>,
    now: i64,
) -> Result<()> {
    let connection = open(database)?;
    let ids = params![numbers.start as i64 + 1, numbers.end as i64];
    connection.execute_batch("BEGIN; CREATE TEMP TABLE gone (repo_id INTEGER, id INTEGER)")?;
    connection.execute(
        "INSERT INTO gone SELECT repo_id, id FROM manifests WHERE id BETWEEN ?1 AND ?2",
        ids,
    )?;
    connection.execute(
        "INSERT INTO gc_link_queue (repo_id, digest, due_at)
         SELECT b.repo_id, b.digest, ?1 + b.manifest_id FROM gone g CROSS JOIN manifest_blobs b
         ON b.repo_id = g.repo_id AND b.manifest_id = g.id",
        params![now],
    )?;
    connection.execute(
        "INSERT INTO manifest_trash (repo_id, digest, media_type, deleted_at, purge_at, payload)
         SELECT m.repo_id, m.digest, m.media_type, ?1, ?2, m.payload FROM gone g CROSS JOIN manifests m
         ON m.repo_id = g.repo_id AND m.id = g.id",
        params![now, i64::MAX],
    )?;
    for statement in [
        "DELETE FROM tags WHERE (repo_id, name) IN (SELECT t.repo_id, t.name FROM gone g CROSS JOIN tags t
         ON t.repo_id = g.repo_id AND t.manifest_id = g.id)",
        "DELETE FROM manifest_blobs WHERE (repo_id, manifest_id) IN (SELECT repo_id, id FROM gone)",
        "DELETE FROM manifests WHERE (repo_id, id) IN (SELECT repo_id, id FROM gone)",
        "COMMIT",
    ] {
        connection.execute_batch(statement)?;
    }
    Ok(())
}

/// What the collector has done.
pub(super) struct Progress {
    /// Links, blobs and objects taken away, in all.
    pub(super) items: i64,
    pub(super) objects: i64,
    /// Whether links still wait for it.
    pub(super) waiting: bool,
}

/// How far the collector has come, by its history and its queue.
pub(super) fn progress(database: &Path) -> Result<Progress> {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let connection = Connection::open_with_flags(database, flags)?;
    let one = |sql| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    Ok(Progress {
        items: one("SELECT COALESCE(SUM(items), 0) FROM gc_history")?,
        objects: one("SELECT COALESCE(SUM(items), 0) FROM gc_history WHERE kind = 3")?,
        waiting: one("SELECT EXISTS (SELECT 1 FROM gc_link_queue)")? != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_files_lie_where_distribution_looks() {
        let home = tempfile::tempdir().unwrap();
        write_links(home.path(), 7..8).unwrap();
        write_blobs(home.path(), 7..8).unwrap();
        let digest = manifest_digest(7);
        let link = "data/docker/registry/v2/repositories/gc/r007/_manifests/tags/v7/current/link";
        assert_eq!(fs::read_to_string(home.path().join(link)).unwrap(), digest);
        let stored = fs::read_to_string(home.path().join(file(&digest))).unwrap();
        assert_eq!(stored, manifest(7));
        for position in 0..BLOBS {
            let blob = blob_digest(7, position);
            assert!(stored.contains(&blob), "{stored}");
            assert!(home.path().join(file(&blob)).is_file());
        }
    }
}
