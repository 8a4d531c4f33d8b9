//! Each kind of damage, made on purpose in the database and the files of a registry.

use std::fs;

use holdfast_tests::{Blob, Registry, digest, random_bytes};

use super::{Stock, literal};

/// What remains after a repair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    /// Nothing: the store checks clean.
    Nothing,
    /// The damage is known, and a push of the same content removes it.
    UntilPushed,
    /// It stays as it is.
    Same,
}

struct Case {
    kind: &'static str,
    make: fn(&Stock),
    /// Arguments without which it is not looked for.
    arguments: &'static [&'static str],
    /// Whether the server runs meanwhile.
    live: bool,
    rest: Rest,
    /// A name that the report has to mention.
    affects: &'static str,
}

const fn case(kind: &'static str, rest: Rest, affects: &'static str, make: fn(&Stock)) -> Case {
    Case {
        kind,
        make,
        arguments: &[],
        live: false,
        rest,
        affects,
    }
}

/// Where an orphan would be, and its bytes.
fn orphan() -> (String, Vec<u8>) {
    let bytes = random_bytes(4711, 2_000);
    (digest(&bytes), bytes)
}

fn flip(stock: &Stock, name: &str) {
    let file = stock.file(name);
    let mut bytes = fs::read(&file).expect("reading a blob");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(file, bytes).expect("writing a blob");
}

fn cases() -> Vec<Case> {
    use Rest::{Nothing, Same, UntilPushed};
    let mut cases = vec![
        case("blob-missing", UntilPushed, "stock/app:v1", |stock| {
            fs::remove_file(stock.file(&stock.layer().digest)).expect("removing a blob");
        }),
        case("blob-missing", Nothing, "stock/app:v1", |stock| {
            let file = stock.file(&stock.layer().digest);
            let other = file.with_extension("0123456789abcdef0123456789abcdef");
            fs::rename(file, other).expect("moving a blob");
        }),
        case("blob-size", UntilPushed, "stock/app:latest", |stock| {
            let file = fs::File::options()
                .write(true)
                .open(stock.file(&stock.layer().digest));
            file.expect("opening a blob").set_len(9).expect("cutting");
        }),
        Case {
            arguments: &["--read-data"],
            ..case("blob-digest", UntilPushed, "stock/app:v1", |stock| {
                flip(stock, &stock.layer().digest);
            })
        },
        // Found through an index as well.
        Case {
            arguments: &["--read-data"],
            ..case("blob-digest", UntilPushed, "stock/all:multi", |stock| {
                flip(stock, &stock.index.images[1].layers[0].digest);
            })
        },
        case("blob-damaged", Nothing, "stock/app:v1", |stock| {
            let layer = literal(&stock.layer().digest);
            stock.sql(&format!(
                "UPDATE blobs SET state = 2 WHERE digest = {layer}"
            ));
        }),
        case("blob-damaged", UntilPushed, "stock/app:v1", |stock| {
            flip(stock, &stock.layer().digest);
            let layer = literal(&stock.layer().digest);
            stock.sql(&format!(
                "UPDATE blobs SET state = 2 WHERE digest = {layer}"
            ));
        }),
        case("blob-discarded", Nothing, "stock/app:v1", |stock| {
            let layer = literal(&stock.layer().digest);
            stock.sql(&format!(
                "INSERT INTO gc_object_outbox (storage_key, not_before)
                 SELECT storage_key, 9000000000000000 FROM blobs WHERE digest = {layer}"
            ));
        }),
        case("blob-forgotten", Nothing, "", |stock| {
            let loose = literal(&stock.loose.digest);
            stock.sql(&format!("DELETE FROM repo_blobs WHERE digest = {loose}"));
        }),
        case("doomed-forgotten", Nothing, "", |stock| {
            let loose = literal(&stock.loose.digest);
            stock.sql(&format!(
                "DELETE FROM repo_blobs WHERE digest = {loose};
                 UPDATE blobs SET state = 1 WHERE digest = {loose}"
            ));
        }),
        case("link-without-blob", Nothing, "stock/app:v1", |stock| {
            let layer = literal(&stock.layer().digest);
            stock.sql(&format!("DELETE FROM blobs WHERE digest = {layer}"));
        }),
        case("link-without-blob", UntilPushed, "stock/app:v1", |stock| {
            let layer = literal(&stock.layer().digest);
            stock.sql(&format!("DELETE FROM blobs WHERE digest = {layer}"));
            fs::remove_file(stock.file(&stock.layer().digest)).expect("removing a blob");
        }),
        case("link-without-blob", Nothing, "stock/app", |stock| {
            let loose = literal(&stock.loose.digest);
            stock.sql(&format!("DELETE FROM blobs WHERE digest = {loose}"));
        }),
        case("link-unmarked", Nothing, "stock/app:v1", |stock| {
            let layer = literal(&stock.layer().digest);
            stock.sql(&format!(
                "UPDATE repo_blobs SET used = 0 WHERE digest = {layer}"
            ));
        }),
        case("link-forgotten", Nothing, "stock/app", |stock| {
            let loose = literal(&stock.loose.digest);
            stock.sql(&format!(
                "UPDATE repo_blobs SET used = 1 WHERE digest = {loose}"
            ));
        }),
        case("blob-unlinked", Nothing, "stock/app:v1", |stock| {
            let layer = literal(&stock.layer().digest);
            stock.sql(&format!("DELETE FROM repo_blobs WHERE digest = {layer}"));
        }),
        case("blob-unlinked", UntilPushed, "stock/app:v1", |stock| {
            let layer = literal(&stock.layer().digest);
            fs::remove_file(stock.file(&stock.layer().digest)).expect("removing a blob");
            stock.sql(&format!(
                "DELETE FROM repo_blobs WHERE digest = {layer}; DELETE FROM blobs WHERE digest = {layer}"
            ));
        }),
        case("blob-unlinked", Nothing, "stock/app", |stock| {
            let layer = literal(&stock.layer().digest);
            stock.sql(&format!(
                "INSERT INTO manifest_missing_blobs SELECT * FROM manifest_blobs WHERE digest = {layer};
                 DELETE FROM manifest_blobs WHERE digest = {layer}"
            ));
        }),
        case("manifest-digest", Same, "stock/app:latest", |stock| {
            let manifest = literal(&stock.image.manifest.digest);
            stock.sql(&format!(
                "UPDATE manifests SET payload = CAST(payload || ' ' AS BLOB) WHERE digest = {manifest}"
            ));
        }),
        // Another registry's copy of the manifest lies among the blobs.
        case("manifest-digest", Nothing, "stock/app:v1", |stock| {
            let manifest = &stock.image.manifest;
            let file = stock.file(&manifest.digest);
            fs::create_dir_all(file.parent().expect("a directory")).expect("making it");
            fs::write(file, &manifest.bytes).expect("writing a manifest");
            let name = literal(&manifest.digest);
            stock.sql(&format!(
                "UPDATE manifests SET payload = CAST(payload || ' ' AS BLOB) WHERE digest = {name}"
            ));
        }),
        case("manifest-facts", Nothing, "stock/app", |stock| {
            stock.sql("UPDATE manifests SET subject_digest = NULL, artifact_type = 'x' WHERE subject_digest IS NOT NULL");
        }),
        case("manifest-children", Nothing, "stock/all:multi", |stock| {
            let image = literal(&stock.index.images[0].manifest.digest);
            stock.sql(&format!(
                "DELETE FROM manifest_children WHERE child_digest = {image}"
            ));
        }),
        case("manifest-blobs", Nothing, "stock/app:v1", |stock| {
            let layer = literal(&stock.image.layers[1].digest);
            stock.sql(&format!(
                "DELETE FROM manifest_blobs WHERE digest = {layer}"
            ));
        }),
        case("tag-target", Nothing, "stock/app:v1", |stock| {
            stock.sql("UPDATE tags SET manifest_id = 1 WHERE name = 'v1'");
        }),
        case("tag-target", Nothing, "stock/app:v1", |stock| {
            stock.sql("UPDATE tags SET manifest_id = 1 WHERE name = 'v1'; DELETE FROM tag_history");
        }),
        case("repository-listed", Nothing, "stock/app", |stock| {
            stock.sql("UPDATE repositories SET population = 2 WHERE path = 'stock/app'");
        }),
        case("repository-listed", Nothing, "empty", |stock| {
            stock.sql("INSERT INTO repositories (id, namespace_id, path, population, created_at) VALUES (7, 0, 'empty', 1, 0)");
        }),
        case("database-reference", Same, "", |stock| {
            stock.sql("INSERT INTO manifest_children (repo_id, parent_id, child_digest) VALUES (1, 2, x'01')");
        }),
        case("object-orphan", Nothing, "", |stock| {
            let (name, bytes) = orphan();
            let file = stock.file(&name);
            fs::create_dir_all(file.parent().expect("a directory")).expect("making it");
            fs::write(file, bytes).expect("writing an orphan");
        }),
        case("object-orphan", Nothing, "", |stock| {
            let file = stock.file(&stock.layer().digest);
            let other = file.with_extension("0123456789abcdef0123456789abcdef");
            fs::copy(file, other).expect("copying a blob");
        }),
        case("staging-orphan", Nothing, "", |stock| {
            let uploads = stock.registry.data().join("holdfast/uploads");
            let id = "01234567-89ab-4cde-8f01-23456789abcd";
            fs::write(uploads.join(id), b"left behind").expect("writing an upload");
        }),
        case("upload-bytes", Nothing, "stock/app", |stock| {
            let http = stock.registry.http();
            let session = http.post("/v2/stock/app/blobs/uploads/").body("").send();
            let session = session.expect(202).location().to_owned();
            let _ = http.patch(&session).body(vec![1; 1000]).send().expect(202);
            let uploads = stock.registry.data().join("holdfast/uploads");
            for entry in fs::read_dir(uploads).expect("listing uploads") {
                fs::remove_file(entry.expect("an upload").path()).expect("removing an upload");
            }
        }),
    ];
    for case in &mut cases {
        case.live = matches!(case.kind, "staging-orphan" | "upload-bytes");
    }
    cases
}

#[test]
fn every_kind_is_found_named_and_repaired_where_that_can_be() {
    let workers = 4;
    let cases = cases();
    let kinds: std::collections::BTreeSet<_> = cases.iter().map(|case| case.kind).collect();
    // And `database-file`, which a start puts right before anybody looks: `recovery` has it.
    assert_eq!(kinds.len(), 21, "every kind of the reference: {kinds:?}");
    std::thread::scope(|scope| {
        for worker in 0..workers {
            let cases = &cases;
            scope.spawn(move || {
                for (number, case) in cases.iter().enumerate() {
                    if number % workers == worker {
                        try_case(number, case);
                    }
                }
            });
        }
    });
}

fn try_case(number: usize, case: &Case) {
    let mut stock = Stock::new(1000 + number as u64 * 100);
    let what = format!("case {number}, {}", case.kind);
    let repair: Vec<&str> = [case.arguments, &["--repair"]].concat();
    if !case.live {
        stock.registry.terminate();
    }
    stock.check(&["--read-data"]).assert_clean(&what);
    (case.make)(&stock);

    let found = stock.check(case.arguments);
    assert_eq!(found.code, 1, "{what}: {found:?}");
    assert!(
        found.kinds().contains(&case.kind.to_owned()),
        "{what}: {found:?}"
    );
    let named = found.findings().any(|finding| {
        let names = finding["affected"].as_array().into_iter().flatten();
        names
            .flat_map(|one| {
                let repository = one["repository"].as_str().unwrap_or_default().to_owned();
                let tags = one["tags"].as_array().cloned().unwrap_or_default();
                let tags = tags
                    .into_iter()
                    .map(|tag| tag.as_str().unwrap_or_default().to_owned());
                let mut names: Vec<String> =
                    tags.map(|tag| format!("{repository}:{tag}")).collect();
                names.push(repository);
                names
            })
            .any(|name| name == case.affects)
    });
    assert!(named || case.affects.is_empty(), "{what}: {found:?}");
    let again = stock.check(case.arguments);
    assert_eq!(
        again.kinds(),
        found.kinds(),
        "{what}: a look changes nothing"
    );

    let repaired = stock.check(&repair);
    let after = stock.check(case.arguments);
    match case.rest {
        Rest::Nothing => {
            assert_eq!(repaired.code, 0, "{what}: {repaired:?}");
            after.assert_clean(&what);
        }
        Rest::UntilPushed => {
            assert_eq!(repaired.code, 1, "{what}: {repaired:?}");
            assert_eq!(after.kinds(), ["blob-damaged"], "{what}");
            stock.registry.restart();
            stock.push();
            stock.registry.terminate();
            stock.check(&["--read-data"]).assert_clean(&what);
        }
        Rest::Same => {
            assert_eq!(repaired.code, 1, "{what}: {repaired:?}");
            assert_eq!(after.kinds(), found.kinds(), "{what}");
            return;
        }
    }
    // Whatever it was, what was pushed can be pulled again.
    stock.registry.restart();
    let http = stock.registry.http();
    for blob in stock.image.blobs() {
        let url = format!("/v2/stock/app/blobs/{}", blob.digest);
        assert_eq!(http.get(&url).send().expect(200).body, blob.bytes, "{what}");
    }
}

#[test]
fn a_repair_can_be_undone() {
    let mut stock = Stock::new(9000);
    stock.registry.terminate();
    let damages = [
        "link-unmarked",
        "link-forgotten",
        "manifest-facts",
        "manifest-children",
        "manifest-blobs",
        "tag-target",
        "repository-listed",
        "object-orphan",
    ];
    for case in cases() {
        if damages.contains(&case.kind) {
            (case.make)(&stock);
        }
    }
    let found = stock.check(&[]);
    let kinds = found.kinds();
    for damage in damages {
        assert!(kinds.contains(&damage.to_owned()), "{damage}: {found:?}");
    }
    assert_eq!(stock.check(&["--repair"]).code, 0);
    stock.check(&[]).assert_clean("repaired");
    let path = stock.registry.data().join("holdfast/metadata.db");
    let database = rusqlite::Connection::open(path).expect("opening the database");
    let mut journal = database
        .prepare("SELECT undo FROM repair_journal ORDER BY id DESC")
        .expect("reading the journal");
    let undo: Vec<String> = journal
        .query_map([], |row| row.get(0))
        .and_then(Iterator::collect)
        .expect("reading the journal");
    stock.sql(&undo.join(";\n"));
    assert_eq!(stock.check(&[]).kinds(), kinds);
}

#[test]
fn every_flipped_bit_is_found() {
    let mut stock = Stock::new(9500);
    let http = stock.registry.http();
    let blobs: Vec<Blob> = (0..60)
        .map(|number| {
            let bytes = random_bytes(
                9600 + number,
                1 + usize::try_from(number).expect("small") * 3001,
            );
            Blob::new("application/octet-stream", bytes)
        })
        .collect();
    for blob in &blobs {
        http.push_blob("bits", blob);
    }
    stock.registry.terminate();
    let mut flipped = Vec::new();
    for (number, blob) in blobs
        .iter()
        .enumerate()
        .filter(|(number, _)| number % 3 != 1)
    {
        let at = random_bytes(number as u64, 8);
        let at = u64::from_le_bytes(at.try_into().expect("eight bytes"));
        let bit = usize::try_from(at % (blob.bytes.len() as u64 * 8)).expect("a place in it");
        let mut bytes = blob.bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(stock.file(&blob.digest), bytes).expect("writing a blob");
        flipped.push(blob.digest.clone());
    }
    stock.check(&[]).assert_clean("lengths are right");
    let found = stock.check(&["--read-data", "--repair"]);
    let mut names: Vec<_> = found
        .findings()
        .map(|finding| finding["digest"].as_str().expect("a digest").to_owned())
        .collect();
    names.sort();
    flipped.sort();
    assert_eq!(names, flipped);
    assert_eq!(found.kinds(), ["blob-digest"]);
    stock.registry.restart();
    let http = stock.registry.http();
    for blob in &blobs {
        let url = format!("/v2/bits/blobs/{}", blob.digest);
        if flipped.contains(&blob.digest) {
            let _ = http.get(&url).send().expect(502);
            let _ = http.head(&url).send().expect(404);
        } else {
            assert_eq!(http.get(&url).send().expect(200).body, blob.bytes);
        }
    }
}

/// A database that belongs to another store must not cost this one its blobs.
#[test]
fn a_database_of_another_store_makes_no_orphans_to_delete() {
    let mut stock = Stock::new(9700);
    stock.registry.terminate();
    stock.sql(
        "DELETE FROM tags; DELETE FROM manifest_children; DELETE FROM manifest_blobs; DELETE FROM manifests;
         DELETE FROM repo_blobs; DELETE FROM blobs; DELETE FROM repositories",
    );
    let before = crate::collection::stored(&stock.registry);
    assert!(!before.is_empty());
    // A store full of blobs that the database does not know is taken over, and till then nobody judges them.
    let repaired = stock.check(&["--repair"]);
    assert_eq!(repaired.kinds(), [""; 0], "{repaired:?}");
    assert_eq!(repaired.code, 3);
    assert_eq!(crate::collection::stored(&stock.registry), before);
}

#[test]
fn scripts_are_told_what_went_wrong() {
    let mut stock = Stock::new(9800);
    let run = |arguments: &[&str]| {
        let output = Registry::command().args(arguments).finish();
        output.status.code()
    };
    let config = stock
        .registry
        .config_file()
        .to_str()
        .expect("text")
        .to_owned();
    assert_eq!(run(&["check", "--config", &config]), Some(0));
    assert_eq!(run(&["verify", "--config", &config]), Some(0));
    assert_eq!(run(&["check", "--rate", "0", "--config", &config]), Some(2));
    assert_eq!(run(&["check", "--config", "/nowhere.yml"]), Some(3));
    stock.registry.terminate();
    // Not to be read is not the same as not there.
    let file = stock.file(&stock.layer().digest);
    fs::remove_file(&file).expect("removing a blob");
    fs::create_dir(&file).expect("making a directory in its place");
    let report = stock.check(&["--repair"]);
    assert_eq!(report.code, 3, "{report:?}");
    assert_eq!(report.kinds(), Vec::<String>::new(), "{report:?}");
    assert_eq!(report.summary()["unchecked"], 1, "{report:?}");
    let text = Registry::command()
        .args(["check", "--config", &config])
        .finish();
    text.mentions("could not check blob sha256:");
}
