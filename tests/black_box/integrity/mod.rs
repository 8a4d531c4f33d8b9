//! Damage of every kind: found, named with the tags it touches, repaired where that can be.

mod kinds;
mod live;

use std::path::PathBuf;

use holdfast_tests::{Blob, Image, Index, Registry, random_bytes};
use serde_json::{Value, json};

/// A registry with some of everything, whose database and files a test then damages.
struct Stock {
    registry: Registry,
    image: Image,
    index: Index,
    /// A blob that no manifest uses.
    loose: Blob,
}

impl Stock {
    fn new(seed: u64) -> Stock {
        Stock::of(Registry::start(), seed)
    }

    fn of(registry: Registry, seed: u64) -> Stock {
        let stock = Stock {
            registry,
            image: Image::new(seed, &[30_000, 5_000]),
            index: Index::new(seed + 10, 3_000),
            loose: Blob::new("application/octet-stream", random_bytes(seed, 700)),
        };
        stock.push();
        stock
    }

    /// Pushes everything; what is there already is not sent again by clients, but by this.
    fn push(&self) {
        let http = self.registry.http();
        http.push_image("stock/app", "v1", &self.image);
        http.push_image("stock/app", "latest", &self.image);
        for image in &self.index.images {
            http.push_image("stock/all", &image.manifest.digest, image);
        }
        http.push_manifest("stock/all", "multi", &self.index.manifest);
        let empty = Blob::new("application/vnd.oci.empty.v1+json", b"{}".to_vec());
        http.push_blob("stock/app", &empty);
        let signature = json!({
            "schemaVersion": 2,
            "mediaType": self.image.manifest.media_type,
            "artifactType": "application/vnd.example.signature",
            "config": empty.descriptor(),
            "layers": [],
            "subject": self.image.manifest.descriptor(),
        });
        let signature = Blob::new(
            self.image.manifest.media_type,
            signature.to_string().into_bytes(),
        );
        http.push_manifest("stock/app", &signature.digest, &signature);
        http.push_blob("stock/app", &self.loose);
    }

    /// The layer that the damage of most tests is about.
    fn layer(&self) -> &Blob {
        &self.image.layers[0]
    }

    fn file(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").expect("a sha256 digest");
        let blobs = "docker/registry/v2/blobs/sha256";
        let directory = self.registry.data().join(blobs).join(&hex[..2]).join(hex);
        directory.join("data")
    }

    /// Changes the database as no release would; the server must not run.
    fn sql(&self, statements: &str) {
        let path = self.registry.data().join("holdfast/metadata.db");
        let database = rusqlite::Connection::open(path).expect("opening the database");
        database
            .pragma_update(None, "foreign_keys", 0)
            .expect("turning foreign keys off");
        database
            .execute_batch(statements)
            .unwrap_or_else(|error| panic!("{error}: {statements}"));
    }

    fn check(&self, arguments: &[&str]) -> Report {
        let output = Registry::command()
            .args(["check", "--json", "--config"])
            .arg(self.registry.config_file())
            .args(arguments)
            .finish();
        let lines = output.text().lines();
        let lines = lines.map(|line| serde_json::from_str(line).expect("a line of JSON"));
        Report {
            code: output.status.code().expect("an exit code"),
            lines: lines.collect(),
            errors: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// A digest as the database has it.
fn literal(digest: &str) -> String {
    format!("x'01{}'", digest.strip_prefix("sha256:").expect("a sha256"))
}

/// What a check said.
#[derive(Debug)]
struct Report {
    code: i32,
    lines: Vec<Value>,
    errors: String,
}

impl Report {
    fn findings(&self) -> impl Iterator<Item = &Value> {
        self.lines.iter().filter(|line| line["event"] == "finding")
    }

    fn kinds(&self) -> Vec<String> {
        let mut kinds: Vec<String> = self
            .findings()
            .map(|line| line["kind"].as_str().expect("a kind").to_owned())
            .collect();
        kinds.sort();
        kinds.dedup();
        kinds
    }

    fn summary(&self) -> &Value {
        let last = self.lines.last().expect("a line");
        assert_eq!(last["event"], "summary", "{self:?}");
        last
    }

    #[track_caller]
    fn assert_clean(&self, what: &str) {
        assert_eq!(self.kinds(), Vec::<String>::new(), "{what}: {self:?}");
        assert_eq!(self.code, 0, "{what}: {self:?}");
        assert!(
            self.summary()["blobs"].as_u64() > Some(0),
            "{what}: {self:?}"
        );
    }
}
