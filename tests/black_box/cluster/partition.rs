//! A node whose network loses every packet: requests end in time, and nothing is lost.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use holdfast_tests::http::{Client, Response};
use holdfast_tests::{Blob, Image, eventually, random_bytes};

use super::Cluster;
use super::storms::{assert_whole, try_push};

/// More than a node has connections to the database.
const AT_ONCE: usize = 30;
const STATEMENT_TIMEOUT: &str = "15s";
/// An answer counts as lost after 20 s then. Nothing waits twice as long.
const WITHOUT_DATABASE: Duration = Duration::from_secs(35);
/// Twice the patience for an answer of the bucket, and some.
const WITHOUT_BUCKET: Duration = Duration::from_secs(150);
const PUSHERS: u64 = 4;

/// Tags with what was acknowledged under them.
type Pushed = Vec<(String, Arc<Image>)>;
type Request = Box<dyn Fn(&Client) -> Response + Send>;
type Requests = Vec<Request>;

/// Sends requests side by side, each of which must have this answer in time.
#[track_caller]
fn assert_answered(status: u16, client: &Client, requests: Requests, in_time: Duration) {
    let client = client.clone().with_patience(in_time);
    let ask = |request: Request| {
        let client = client.clone();
        std::thread::spawn(move || request(&client))
    };
    let answers: Vec<JoinHandle<Response>> = requests.into_iter().map(ask).collect();
    for answer in answers {
        let answer = answer.join().expect("an answer in time");
        assert_eq!(answer.status, status, "{answer}");
    }
}

fn begin(client: &Client) -> String {
    let session = client.post("/v2/app/blobs/uploads/").body("").send();
    session.expect(202).location().to_owned()
}

fn digest_at(session: &str, blob: &Blob) -> String {
    let separator = if session.contains('?') { '&' } else { '?' };
    format!("{session}{separator}digest={}", blob.digest)
}

/// Clients that push to one node until they are told to stop.
struct Pushers {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
    pushed: Arc<Mutex<Pushed>>,
    threads: Vec<JoinHandle<()>>,
}

impl Pushers {
    fn start(client: &Client) -> Pushers {
        let mut pushers = Pushers {
            stop: Arc::default(),
            count: Arc::default(),
            pushed: Arc::default(),
            threads: Vec::new(),
        };
        for pusher in 0..PUSHERS {
            let clients = vec![client.clone()];
            let (stop, count) = (pushers.stop.clone(), pushers.count.clone());
            let pushed = pushers.pushed.clone();
            pushers.threads.push(std::thread::spawn(move || {
                for number in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let image = Image::new(8000 + pusher * 1000 + number, &[20_000, 300]);
                    let tag = format!("p{pusher}-{number}");
                    let _ = try_push(&clients, 0, "distant", &tag, &image).expect(201);
                    let mut pushed = pushed.lock().expect("nobody panicked with it");
                    pushed.push((tag, Arc::new(image)));
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }));
        }
        pushers
    }

    fn wait_for(&self, more: usize) {
        let wanted = self.count.load(Ordering::Relaxed) + more;
        eventually("pushes go on", || {
            self.count.load(Ordering::Relaxed) >= wanted
        });
    }

    fn stop(self) -> Pushed {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("every push ends");
        }
        let mut pushed = self.pushed.lock().expect("nobody panicked with it");
        std::mem::take(&mut pushed)
    }
}

#[test]
fn a_node_that_is_cut_off_from_the_database_says_so_and_comes_back() {
    let cluster = Cluster::start(1, "");
    let distant = cluster.distant(STATEMENT_TIMEOUT);
    let (near, far) = (cluster.nodes[0].http(), distant.node.http());
    let image = Image::new(7000, &[10_000]);
    far.push_image("app", "v1", &image);
    let blob = Arc::new(Blob::new(
        "application/octet-stream",
        random_bytes(7002, 9_000_000),
    ));
    let session = begin(&far);
    let half = far.patch(&session).body(&blob.bytes[..4_000_000]).send();
    let session = half.expect(202).location().to_owned();
    let pushers = Pushers::start(&far);
    pushers.wait_for(8);
    // Leaves connections open.
    let pull = |_| -> Request { Box::new(|client| client.get("/v2/app/manifests/v1").send()) };
    assert_answered(
        200,
        &far,
        (0..AT_ONCE).map(pull).collect(),
        WITHOUT_DATABASE,
    );

    distant.database.cut();
    // Once on connections that were open, and once where new ones have to be made.
    for _ in 0..2 {
        let requests = (0..AT_ONCE).map(|number| -> Request {
            let (blob, manifest) = (image.layers[0].digest.clone(), image.manifest.clone());
            match number % 5 {
                0 => Box::new(|client| client.get("/v2/app/manifests/v1").send()),
                1 => Box::new(move |client| client.get(&format!("/v2/app/blobs/{blob}")).send()),
                2 => Box::new(|client| client.post("/v2/app/blobs/uploads/").body("").send()),
                3 => Box::new(|client| client.get("/v2/app/tags/list").send()),
                _ => Box::new(move |client| {
                    let put = client.put("/v2/app/manifests/v1");
                    let put = put.header("Content-Type", manifest.media_type);
                    put.body(&manifest.bytes[..]).send()
                }),
            }
        });
        assert_answered(503, &far, requests.collect(), WITHOUT_DATABASE);
    }
    // The others do not notice.
    let other = Image::new(7001, &[10_000]);
    near.push_image("app", "v2", &other);
    assert_whole(&near, "app", "v1", &image);

    distant.database.mend();
    eventually("it is back", || {
        far.get("/v2/app/manifests/v1").send().status == 200
    });
    assert_whole(&far, "app", "v2", &other);
    pushers.wait_for(8);
    let pushed = pushers.stop();
    for (tag, image) in &pushed {
        assert_whole(&near, "distant", tag, image);
    }
    let rest = far.patch(&session).body(&blob.bytes[4_000_000..]).send();
    let end = digest_at(rest.expect(202).location(), &blob);
    let _ = far.put(&end).body("").send().expect(201);
    let whole = near.get(&format!("/v2/app/blobs/{}", blob.digest)).send();
    assert!(whole.expect(200).body == blob.bytes);
    let report = cluster.nodes[0].manage(&["check", "--read-data"]).finish();
    assert_eq!(report.status.code(), Some(0), "{report:?}");
}

#[test]
fn a_node_that_is_cut_off_from_the_bucket_says_so_and_comes_back() {
    let cluster = Cluster::start(1, "");
    let distant = cluster.distant(STATEMENT_TIMEOUT);
    let (near, far) = (cluster.nodes[0].http(), distant.node.http());
    let image = Image::new(7010, &[10_000]);
    far.push_image("app", "v1", &image);
    let blob = Arc::new(Blob::new(
        "application/octet-stream",
        random_bytes(7012, 9_000_000),
    ));
    let (first, second, third) = (begin(&far), begin(&far), begin(&far));
    let half = far.patch(&third).body(&blob.bytes[..4_000_000]).send();
    let third = half.expect(202).location().to_owned();

    distant.bucket.cut();
    let layer = format!("/v2/app/blobs/{}", image.layers[0].digest);
    let (small, large, rest) = (blob.clone(), blob.clone(), blob.clone());
    let going_on = third.clone();
    let requests: Requests = vec![
        Box::new(move |client| client.get(&layer).send()),
        Box::new(move |client| client.patch(&first).body(&small.bytes[..1000]).send()),
        Box::new(move |client| {
            let put = client.put(&digest_at(&second, &large));
            put.body(&large.bytes[..]).send()
        }),
        Box::new(move |client| {
            let patch = client.patch(&going_on);
            patch.body(&rest.bytes[4_000_000..]).send()
        }),
    ];
    assert_answered(503, &far, requests, WITHOUT_BUCKET);
    // What the database knows is answered, and the others do not notice.
    let manifest = far.get("/v2/app/manifests/v1").send().expect(200);
    assert_eq!(manifest.body, image.manifest.bytes);
    assert_whole(&near, "app", "v1", &image);

    distant.bucket.mend();
    let layer = format!("/v2/app/blobs/{}", image.layers[0].digest);
    eventually("it is back", || far.get(&layer).send().status == 200);
    // What was acknowledged of the upload is there, at any node.
    let state = near.get(&third).send().expect(204);
    let range = state.header("Range").expect("a range").to_owned();
    let (_, last) = range.split_once('-').expect("two numbers");
    let offset = last.parse::<usize>().expect("a number") + 1;
    assert!(offset >= 4_000_000, "{range}");
    let third = state.header("Location").unwrap_or(&third).to_owned();
    let rest = far.patch(&third).body(&blob.bytes[offset..]).send();
    let end = digest_at(rest.expect(202).location(), &blob);
    let _ = near.put(&end).body("").send().expect(201);
    let whole = far.get(&format!("/v2/app/blobs/{}", blob.digest)).send();
    assert!(whole.expect(200).body == blob.bytes);
}
