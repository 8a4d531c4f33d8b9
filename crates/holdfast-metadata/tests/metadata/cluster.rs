//! Several nodes on one PostgreSQL database: what one did, the others see at once, and nothing is lost when they
//! push and collect side by side.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use holdfast_metadata::{Error, LinkBlob, Linked, Metadata, Moment, PutOutcome, UntaggedPolicy};
use holdfast_tests::{Postgres, PostgresDatabase};

use crate::fixture::*;

#[tokio::test]
async fn a_change_is_seen_by_all_nodes_at_once() {
    let database = Postgres::shared().database();
    let (one, other) = (node(&database, 1).await, node(&database, 2).await);
    let (one, other) = (Database::of(one), Database::of(other));
    for round in 0..20_u64 {
        let (number, reference) = (100 + round, digest(100 + round).to_string());
        one.link("a", digest(round)).await;
        let found = other.metadata.blob(&name("a"), &digest(round), NOW).await;
        assert!(found.unwrap().is_some(), "a blob of round {round}");
        let mut image = tagged(manifest("a", number), &["latest"]);
        image.blobs = vec![layer(digest(round))];
        one.put(image).await;
        for reference in ["latest", &reference] {
            // Twice: the second time with what was kept from the first.
            for _ in 0..2 {
                let seen = other.get("a", reference).await;
                assert_eq!(seen.unwrap(), number.to_string(), "{reference}");
            }
        }
        if round % 2 == 1 {
            let (repository, tag) = (name("a"), tag("latest"));
            let deleted = other.metadata.delete_tag(&repository, &tag, NOW).await;
            assert!(deleted.unwrap());
            assert_eq!(one.get("a", "latest").await, None);
            let image = digest(number);
            let deleted = other
                .metadata
                .delete_manifest(&repository, &image, NOW)
                .await;
            assert!(deleted.unwrap().is_some());
            assert_eq!(one.get("a", &reference).await, None);
            assert_eq!(other.get("a", &reference).await, None);
        }
    }
}

#[tokio::test]
async fn a_digest_keeps_its_media_type_in_each_repository() {
    let database = Postgres::shared().database();
    let db = Database::of(node(&database, 1).await);
    db.put(tagged(manifest("a", 100), &["v1"])).await;
    let mut index = tagged(manifest("b", 100), &["v1"]);
    index.media_type = holdfast_model::MediaType::OCI_INDEX;
    db.put(index.clone()).await;
    for _ in 0..2 {
        for (repository, wanted) in [("a", "manifest"), ("b", "index")] {
            let reference = "v1".parse().unwrap();
            let found = db.metadata.manifest(&name(repository), &reference).await;
            let media_type = found.unwrap().unwrap().media_type.to_string();
            assert!(media_type.contains(wanted), "{repository}: {media_type}");
        }
    }
}

/// How long the storm lasts.
const STORM: Duration = Duration::from_secs(10);
const PUSHERS: u64 = 10;
const COLLECTORS: u64 = 10;
const REPOSITORIES: [&str; 2] = ["a", "b"];
const BLOBS: u64 = 3;
const MANIFESTS: u64 = 4;

/// Statements stop for a moment now and then, as they would by chance if one waited long enough: the windows in
/// which two changes can meet get wide.
const PAUSES: &str = "
CREATE FUNCTION pause() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF random() < 0.3 THEN PERFORM pg_sleep(random() * 0.02); END IF;
  RETURN COALESCE(NEW, OLD);
END $$;
CREATE FUNCTION pause_after() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF random() < 0.3 THEN PERFORM pg_sleep(random() * 0.02); END IF;
  RETURN NULL;
END $$;
DO $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['blobs', 'repo_blobs', 'manifests', 'manifest_blobs', 'manifest_missing_blobs',
                              'tags', 'gc_link_queue', 'gc_blob_queue', 'gc_manifest_queue'] LOOP
    EXECUTE format('CREATE TRIGGER pause BEFORE INSERT OR UPDATE OR DELETE ON %I
                    FOR EACH ROW EXECUTE FUNCTION pause()', name);
    EXECUTE format('CREATE TRIGGER pause_after AFTER INSERT OR UPDATE OR DELETE ON %I
                    FOR EACH STATEMENT EXECUTE FUNCTION pause_after()', name);
  END LOOP;
END $$;";

/// Looks all the time whether a link leads to a blob that is given up, or a live key is in the outbox. At the end
/// alone it would not be seen: the next push mends it.
const WATCH: &str = "
DO $$
DECLARE until timestamptz := clock_timestamp() + interval '10 seconds'; wrong bigint;
BEGIN
  WHILE clock_timestamp() < until LOOP
    SELECT count(*) INTO wrong FROM repo_blobs l JOIN blobs b ON b.digest = l.digest WHERE b.state = 1;
    IF wrong > 0 THEN RAISE EXCEPTION 'a link leads to a blob that is given up'; END IF;
    SELECT count(*) INTO wrong FROM blobs b JOIN gc_object_outbox o ON o.storage_key = b.storage_key
    WHERE b.state = 0;
    IF wrong > 0 THEN RAISE EXCEPTION 'a live key is in the outbox'; END IF;
    PERFORM pg_sleep(0.002);
  END LOOP;
END $$";

/// A small generator, so that who does what is the same each time (SplitMix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

/// Keys with bytes.
#[derive(Clone, Default)]
struct Store(Arc<Mutex<BTreeSet<String>>>);

impl Store {
    fn put(&self, key: &str) {
        self.0.lock().unwrap().insert(key.to_owned());
    }

    fn delete(&self, key: &str) {
        self.0.lock().unwrap().remove(key);
    }

    fn has(&self, key: &str) -> bool {
        self.0.lock().unwrap().contains(key)
    }
}

/// What there is, unless so many met that the change was given up: then nothing was changed.
fn unless_busy<T>(answer: Result<T, Error>) -> Option<T> {
    match answer {
        Ok(answer) => Some(answer),
        Err(Error::Busy(_)) => None,
        Err(error) => panic!("{error:?}"),
    }
}

struct Pusher {
    node: Metadata,
    store: Store,
    chance: Chance,
    number: u64,
    keys: u64,
}

impl Pusher {
    async fn step(&mut self) {
        let repository = REPOSITORIES[self.chance.below(2) as usize];
        let blob = self.chance.below(BLOBS);
        match self.chance.below(12) {
            0 => {
                let other = REPOSITORIES[self.chance.below(2) as usize];
                let (from, to) = (name(other), name(repository));
                unless_busy(self.node.mount_blob(&from, &to, &digest(blob), NOW).await);
            }
            1 => {
                let number = digest(100 + self.chance.below(MANIFESTS));
                let repository = name(repository);
                unless_busy(self.node.delete_manifest(&repository, &number, NOW).await);
            }
            2 => {
                unless_busy(
                    self.node
                        .delete_tag(&name(repository), &tag("v1"), NOW)
                        .await,
                );
            }
            3 => {
                let repository = name(repository);
                unless_busy(self.node.unlink_blob(&repository, &digest(blob), NOW).await);
            }
            _ => self.push(repository).await,
        }
    }

    /// Pushes an image: its blobs, unless they are there, then the manifest.
    async fn push(&mut self, repository: &str) {
        let number = self.chance.below(MANIFESTS);
        let layers = [number % BLOBS, (number + 1) % BLOBS];
        for layer in layers {
            let there = self.node.blob(&name(repository), &digest(layer), NOW).await;
            if unless_busy(there).flatten().is_none() {
                self.push_blob(repository, layer).await;
            }
        }
        let mut image = manifest(repository, 100 + number);
        image.blobs = layers.map(|number| layer(digest(number))).to_vec();
        // One of its layers may come later.
        image.blobs[1].required = number.is_multiple_of(2);
        if self.chance.below(2) == 0 {
            image.tags = vec![tag("v1")];
        }
        let stored = unless_busy(self.node.put_manifest(image).await);
        assert!(
            matches!(
                stored,
                None | Some(PutOutcome::Stored { .. } | PutOutcome::Missing { .. })
            ),
            "{stored:?}"
        );
    }

    async fn push_blob(&mut self, repository: &str, number: u64) {
        if self.chance.below(2) == 0 {
            let stored = self
                .node
                .link_stored_blob(&name(repository), &digest(number), None, false, NOW)
                .await;
            if unless_busy(stored).flatten().is_some() {
                return;
            }
        }
        self.keys += 1;
        let key = format!("{}/{}", self.number, self.keys);
        self.store.put(&key);
        let linked = self.node.link_blob(LinkBlob {
            repository: name(repository),
            digest: digest(number),
            size: 10,
            storage_key: key.clone(),
            upload: None,
            leftovers: Vec::new(),
            now: NOW,
        });
        match unless_busy(linked.await) {
            Some(Linked::Stored | Linked::Surplus { .. } | Linked::Healed { .. }) => {}
            Some(Linked::KeyTaken | Linked::SessionEnded | Linked::SessionTaken) => {
                panic!("{key} was used by nobody else")
            }
            // Certainly not linked.
            None => self.store.delete(&key),
        }
    }
}

async fn collect(node: &Metadata, store: &Store, chance: &mut Chance) {
    let moment = Moment::hurried(NOW, node.grace(), Duration::ZERO);
    let policy = UntaggedPolicy::default();
    match chance.below(4) {
        0 => {
            for (repository, digests) in node.due_links(moment, 10).await.unwrap() {
                unless_busy(node.review_links(&repository, digests, moment).await);
            }
        }
        1 => {
            let due = node.due_blobs(moment, 10).await.unwrap();
            unless_busy(node.review_blobs(due, moment, NOW).await);
        }
        2 => {
            for (repository, digests) in node.due_manifests(moment, 10).await.unwrap() {
                let review = node.review_manifests(&repository, digests, moment, policy);
                unless_busy(review.await);
            }
        }
        _ => {
            let due = node.due_objects(NOW, 10).await.unwrap();
            for object in &due {
                store.delete(&object.storage_key);
            }
            unless_busy(node.objects_deleted(due, NOW).await);
        }
    }
}

/// Pushers and collectors on two nodes, for a while; the number of things that went well.
async fn storm(database: &PostgresDatabase, store: &Store) -> (u64, u64) {
    let nodes = [node(database, 1).await, node(database, 2).await];
    database.execute(PAUSES);
    let watch = tokio::task::spawn_blocking({
        let database = database.clone();
        move || database.try_query(WATCH)
    });
    let end = Instant::now() + STORM;
    let mut pushers = Vec::new();
    for number in 0..PUSHERS {
        let mut pusher = Pusher {
            node: nodes[number as usize % 2].clone(),
            store: store.clone(),
            chance: Chance(number),
            number,
            keys: 0,
        };
        pushers.push(tokio::spawn(async move {
            let mut steps = 0;
            while Instant::now() < end {
                pusher.step().await;
                steps += 1;
            }
            steps
        }));
    }
    let mut collectors = Vec::new();
    for number in 0..COLLECTORS {
        let (node, store) = (nodes[number as usize % 2].clone(), store.clone());
        collectors.push(tokio::spawn(async move {
            let (mut chance, mut rounds) = (Chance(1000 + number), 0);
            while Instant::now() < end {
                collect(&node, &store, &mut chance).await;
                rounds += 1;
            }
            rounds
        }));
    }
    let (mut pushed, mut collected) = (0, 0);
    for pusher in pushers {
        pushed += pusher.await.unwrap();
    }
    for collector in collectors {
        collected += collector.await.unwrap();
    }
    watch.await.unwrap().unwrap();
    (pushed, collected)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_nodes_push_and_collect_side_by_side() {
    let (database, store) = (Postgres::shared().database(), Store::default());
    let (pushed, collected) = storm(&database, &store).await;
    println!("{pushed} pushes beside {collected} rounds of collection");
    // Every blob that a stored manifest needs is live, and its bytes are there.
    let needed = database.query(
        "SELECT DISTINCT b.state, b.storage_key FROM manifest_blobs m
         JOIN blobs b ON b.digest = m.digest ORDER BY b.storage_key",
    );
    for line in needed.lines() {
        let (state, key) = line.split_once('|').unwrap();
        assert!(state == "0" && store.has(key), "lost: {line}");
    }
    // What is written down twice agrees.
    for (what, sql) in [
        (
            "a link to a blob that is not live",
            "repo_blobs l JOIN blobs b ON b.digest = l.digest WHERE b.state <> 0",
        ),
        (
            "a live key in the outbox",
            "blobs b JOIN gc_object_outbox o ON o.storage_key = b.storage_key WHERE b.state = 0",
        ),
        (
            "a needed link that is marked as unused",
            "repo_blobs l WHERE l.used = 0 AND EXISTS
             (SELECT 1 FROM manifest_blobs m WHERE m.repo_id = l.repo_id AND m.digest = l.digest)",
        ),
        (
            "a used link that nobody needs and nobody is to look at",
            "repo_blobs l WHERE l.used = 1
             AND NOT EXISTS (SELECT 1 FROM manifest_blobs m WHERE m.repo_id = l.repo_id AND m.digest = l.digest)
             AND NOT EXISTS (SELECT 1 FROM gc_link_queue q WHERE q.repo_id = l.repo_id AND q.digest = l.digest)",
        ),
        (
            "a live blob without links that nobody is to look at",
            "blobs b WHERE b.state = 0 AND NOT EXISTS (SELECT 1 FROM repo_blobs l WHERE l.digest = b.digest)
             AND NOT EXISTS (SELECT 1 FROM gc_blob_queue q WHERE q.digest = b.digest)",
        ),
        (
            "a blob that a manifest waits for and the repository has",
            "manifest_missing_blobs m JOIN repo_blobs l ON l.repo_id = m.repo_id AND l.digest = m.digest",
        ),
        (
            "a repository that is not marked as it is",
            "repositories r WHERE (r.population = 1) <> EXISTS (SELECT 1 FROM manifests m WHERE m.repo_id = r.id)",
        ),
        (
            "a line of a tag's history that does not follow the one before",
            "(SELECT old_digest, lag(new_digest) OVER (PARTITION BY repo_id, name ORDER BY id) AS before
              FROM tag_history) h WHERE h.old_digest IS DISTINCT FROM h.before",
        ),
    ] {
        let rows = database.query(&format!("SELECT count(*) FROM {sql}"));
        assert_eq!(rows, "0", "{what}");
    }
    // Nothing is left behind by those who were given up, either: every key is in use or on its way out.
    let known = database
        .query("SELECT storage_key FROM blobs UNION SELECT storage_key FROM gc_object_outbox");
    let known: BTreeSet<&str> = known.lines().collect();
    let keys = store.0.lock().unwrap();
    let leaked: Vec<&String> = keys
        .iter()
        .filter(|key| !known.contains(key.as_str()))
        .collect();
    assert_eq!(leaked, Vec::<&String>::new());
}
