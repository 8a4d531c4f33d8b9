//! Payloads that nodes share elsewhere: whatever that place does, the database decides.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use holdfast_metadata::{
    Location, Metadata, Options, PayloadReply, PostgresOptions, SharedPayloads,
};
use holdfast_model::Digest;
use holdfast_tests::{Postgres, PostgresDatabase};

use crate::fixture::*;

/// A place in memory, at which something happens while it is asked.
#[derive(Debug, Default)]
struct Elsewhere {
    values: Mutex<HashMap<Digest, Bytes>>,
    asked: AtomicUsize,
    meanwhile: Mutex<Option<Meanwhile>>,
}

#[derive(Debug)]
struct Meanwhile {
    node: Metadata,
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Move,
    Delete,
}

impl SharedPayloads for Elsewhere {
    fn sizes(&self) -> RangeInclusive<u64> {
        2..=1000
    }

    fn get<'a>(&'a self, digest: &'a Digest, size: u64) -> PayloadReply<'a> {
        Box::pin(async move {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let meanwhile = self.meanwhile.lock().unwrap().take();
            match meanwhile {
                Some(Meanwhile {
                    node,
                    what: What::Move,
                }) => {
                    Database::of(node)
                        .put(tagged(manifest("a", 200), &["v1"]))
                        .await;
                }
                Some(Meanwhile {
                    node,
                    what: What::Delete,
                }) => {
                    let deleted = node.delete_manifest(&name("a"), digest, NOW).await;
                    assert!(deleted.unwrap().is_some());
                }
                None => {}
            }
            let value = self.values.lock().unwrap().get(digest).cloned();
            value.inspect(|value| assert_eq!(value.len() as u64, size))
        })
    }

    fn put(&self, digest: &Digest, payload: &Bytes) {
        self.values.lock().unwrap().insert(*digest, payload.clone());
    }
}

async fn sharing(database: &PostgresDatabase, elsewhere: &Arc<Elsewhere>) -> Database {
    let options = PostgresOptions::new(database.connection(), clock);
    let location = Location::Postgres(Box::new(options));
    let shared_payloads = Some(Arc::clone(elsewhere) as Arc<dyn SharedPayloads>);
    let options = Options {
        shared_payloads,
        cache_bytes: 0,
        ..Options::new(location, 9_000_000)
    };
    Database::of(Metadata::open(options, NOW).await.unwrap())
}

#[tokio::test]
async fn what_one_node_fetched_the_next_has_from_there() {
    let database = Postgres::shared().database();
    let elsewhere = Arc::new(Elsewhere::default());
    let db = sharing(&database, &elsewhere).await;
    db.put(tagged(manifest("a", 100), &["v1"])).await;
    db.put(tagged(manifest("a", 7), &["small"])).await;
    let by_digest = digest(100).to_string();
    for (asked, reference) in [(1, "v1"), (2, &by_digest), (3, "v1")] {
        assert_eq!(db.get("a", reference).await.unwrap(), "100");
        assert_eq!(elsewhere.asked.load(Ordering::Relaxed), asked);
    }
    // Whether it is there, and where, only the database says.
    assert_eq!(db.get("b", &by_digest).await, None);
    assert_eq!(db.get("a", "small").await.unwrap(), "7");
    assert_eq!(elsewhere.asked.load(Ordering::Relaxed), 3);
    // The value there is what is served: the database did not send it again.
    let other = Bytes::from_static(b"xyz");
    elsewhere.put(&digest(100), &other);
    assert_eq!(db.get("a", "v1").await.unwrap(), other);
    elsewhere.values.lock().unwrap().clear();
    assert_eq!(db.get("a", "v1").await.unwrap(), "100");
    let (repository, image) = (name("a"), digest(100));
    let deleted = db.metadata.delete_manifest(&repository, &image, NOW).await;
    assert!(deleted.unwrap().is_some());
    assert_eq!(db.get("a", &by_digest).await, None);
}

#[tokio::test]
async fn a_tag_that_moves_while_the_place_is_asked_is_not_lost() {
    let database = Postgres::shared().database();
    let elsewhere = Arc::new(Elsewhere::default());
    let db = sharing(&database, &elsewhere).await;
    db.put(tagged(manifest("a", 100), &["v1"])).await;
    let node = node(&database, 2).await;
    *elsewhere.meanwhile.lock().unwrap() = Some(Meanwhile {
        node: node.clone(),
        what: What::Move,
    });
    // There was a manifest under the tag all the time, so there is one in the answer.
    assert_eq!(db.get("a", "v1").await.unwrap(), "200");
    assert_eq!(db.get("a", "v1").await.unwrap(), "200");

    *elsewhere.meanwhile.lock().unwrap() = Some(Meanwhile {
        node: node.clone(),
        what: What::Delete,
    });
    elsewhere.values.lock().unwrap().clear();
    assert_eq!(db.get("a", &digest(200).to_string()).await, None);
    assert_eq!(db.get("a", "v1").await, None);
    // It was there when the database was asked, and the place has it.
    db.put(tagged(manifest("a", 300), &["v1"])).await;
    assert_eq!(db.get("a", "v1").await.unwrap(), "300");
    *elsewhere.meanwhile.lock().unwrap() = Some(Meanwhile {
        node,
        what: What::Delete,
    });
    assert_eq!(db.get("a", "v1").await.unwrap(), "300");
    assert_eq!(db.get("a", "v1").await, None);
}
