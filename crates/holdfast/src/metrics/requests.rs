//! Requests under Distribution's names: how many, how long, how many now.
//!
//! A request costs a handful of additions to counters that its own thread uses most of the time: they stand in
//! [`STRIPES`] copies, and only who reads them adds these up. There is no lock, no allocation and no look-up by
//! text. What is under way is what began without having ended.
//!
//! Source: the `registry_http_*` series of Distribution. A request ends when its answer is handed over, a blob
//! when the last of it is. One whose client went away before it was answered counts as 499.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::{Duration, Instant};

use http::{Method, StatusCode};

use super::Page;

/// Copies of the counters.
const STRIPES: usize = 16;

/// What a request is about, by Distribution's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handler {
    /// `/v2/`
    Base,
    /// A blob.
    Blob,
    /// Where uploads begin.
    BlobUpload,
    /// An upload session.
    BlobUploadChunk,
    /// The catalog.
    Catalog,
    /// A manifest.
    Manifest,
    /// Referrers; Distribution has none.
    Referrers,
    /// The tags of a repository.
    Tags,
}

/// In the order of the variants.
const HANDLERS: [&str; 8] = [
    "base",
    "blob",
    "blob_upload",
    "blob_upload_chunk",
    "catalog",
    "manifest",
    "referrers",
    "tags",
];

/// In the order of [`method_index`].
const METHODS: [&str; 8] = [
    "delete", "get", "head", "options", "patch", "post", "put", "unknown",
];

/// Every status an answer may have; others count as the last, which no answer has.
const CODES: [u16; 27] = [
    200, 201, 202, 204, 206, 301, 304, 307, 400, 401, 403, 404, 405, 408, 409, 412, 413, 414, 416,
    429, 499, 500, 502, 503, 504, 507, 0,
];

/// Upper ends of the buckets of durations; beyond the last is one more.
const BUCKETS: [(&str, u64); 13] = {
    const MILLISECOND: u64 = 1_000_000;
    [
        ("0.005", 5 * MILLISECOND),
        ("0.01", 10 * MILLISECOND),
        ("0.025", 25 * MILLISECOND),
        ("0.05", 50 * MILLISECOND),
        ("0.1", 100 * MILLISECOND),
        ("0.25", 250 * MILLISECOND),
        ("0.5", 500 * MILLISECOND),
        ("1", 1_000 * MILLISECOND),
        ("2.5", 2_500 * MILLISECOND),
        ("5", 5_000 * MILLISECOND),
        ("10", 10_000 * MILLISECOND),
        ("25", 25_000 * MILLISECOND),
        ("60", 60_000 * MILLISECOND),
    ]
};

/// Place of each status in [`CODES`].
const CODE_INDEX: [u8; 600] = {
    let other = CODES.len() - 1;
    let mut table = [other as u8; 600];
    let mut place = 0;
    while place < other {
        table[CODES[place] as usize] = place as u8;
        place += 1;
    }
    table
};

/// What is counted for one handler and method.
struct Series {
    codes: [AtomicU64; CODES.len()],
    buckets: [AtomicU64; BUCKETS.len() + 1],
    nanoseconds: AtomicU64,
}

/// One copy of all counters, apart from the next in memory.
#[repr(align(128))]
struct Stripe {
    begun: [AtomicU64; HANDLERS.len()],
    series: [[Series; METHODS.len()]; HANDLERS.len()],
}

impl Series {
    const fn new() -> Series {
        Series {
            codes: [const { AtomicU64::new(0) }; CODES.len()],
            buckets: [const { AtomicU64::new(0) }; BUCKETS.len() + 1],
            nanoseconds: AtomicU64::new(0),
        }
    }
}

impl Stripe {
    const fn new() -> Stripe {
        Stripe {
            begun: [const { AtomicU64::new(0) }; HANDLERS.len()],
            series: [const { [const { Series::new() }; METHODS.len()] }; HANDLERS.len()],
        }
    }
}

/// Takes no memory before it is used.
static REQUESTS: [Stripe; STRIPES] = [const { Stripe::new() }; STRIPES];

/// The copy that this thread uses.
fn stripe() -> &'static Stripe {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static STRIPE: &'static Stripe = &REQUESTS[NEXT.fetch_add(1, Relaxed) % STRIPES];
    }
    STRIPE.with(|stripe| *stripe)
}

/// A request under way. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Watch {
    started: Instant,
    method: u8,
    handler: Option<Handler>,
    /// Place of the answer's status.
    code: u8,
}

impl Watch {
    /// A request that came at this time.
    pub(crate) fn new(started: Instant, method: &Method) -> Watch {
        Watch {
            started,
            method: method_index(method),
            handler: None,
            code: CODE_INDEX[499],
        }
    }

    /// What it is about is known. One of which that is never known does not count.
    pub(crate) fn begin(&mut self, handler: Handler) {
        if self.handler.is_none() {
            self.handler = Some(handler);
            stripe().begun[handler as usize].fetch_add(1, Relaxed);
        }
    }

    /// Whether it is known what it is about.
    pub(crate) fn has_begun(&self) -> bool {
        self.handler.is_some()
    }

    /// Its answer is known.
    pub(crate) fn answer(&mut self, status: StatusCode) {
        self.code = code_index(status.as_u16());
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let Some(handler) = self.handler else { return };
        let took = self.started.elapsed();
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BUCKETS.iter().position(|(_, end)| took <= *end);
        let series = &stripe().series[handler as usize][usize::from(self.method)];
        series.codes[usize::from(self.code)].fetch_add(1, Relaxed);
        series.buckets[bucket.unwrap_or(BUCKETS.len())].fetch_add(1, Relaxed);
        series.nanoseconds.fetch_add(took, Relaxed);
    }
}

fn method_index(method: &Method) -> u8 {
    match *method {
        Method::DELETE => 0,
        Method::GET => 1,
        Method::HEAD => 2,
        Method::OPTIONS => 3,
        Method::PATCH => 4,
        Method::POST => 5,
        Method::PUT => 6,
        _ => 7,
    }
}

fn code_index(code: u16) -> u8 {
    let other = CODES.len() - 1;
    let place = CODE_INDEX.get(usize::from(code));
    place.copied().unwrap_or(other as u8)
}

/// What all copies of a counter hold together.
fn total(counter: impl Fn(&Stripe) -> &AtomicU64) -> u64 {
    REQUESTS
        .iter()
        .map(|stripe| counter(stripe).load(Relaxed))
        .sum()
}

pub(super) fn write(page: &mut Page) {
    let each = |mut write: Box<dyn FnMut(usize, usize) + '_>| {
        for handler in 0..HANDLERS.len() {
            for method in 0..METHODS.len() {
                write(handler, method);
            }
        }
    };
    let mut ended = [0; HANDLERS.len()];
    let name = "registry_http_requests_total";
    page.counter(name, "Requests answered.");
    each(Box::new(|handler, method| {
        for (place, code) in CODES.iter().enumerate() {
            let count = total(|stripe| &stripe.series[handler][method].codes[place]);
            ended[handler] += count;
            if count > 0 {
                let code = code.to_string();
                let labels = [
                    ("code", code.as_str()),
                    ("handler", HANDLERS[handler]),
                    ("method", METHODS[method]),
                ];
                page.sample(name, &labels, count);
            }
        }
    }));
    let name = "registry_http_in_flight_requests";
    page.gauge(name, "Requests under way.");
    for (handler, ended) in ended.iter().enumerate() {
        // Read after the ends, it is never less.
        let begun = total(|stripe| &stripe.begun[handler]);
        page.sample(
            name,
            &[("handler", HANDLERS[handler])],
            begun.saturating_sub(*ended),
        );
    }
    let name = "registry_http_request_duration_seconds";
    page.histogram(name, "How long requests took.");
    each(Box::new(|handler, method| {
        histogram(page, name, handler, method);
    }));
}

fn histogram(page: &mut Page, name: &str, handler: usize, method: usize) {
    let counts: Vec<u64> = (0..=BUCKETS.len())
        .map(|place| total(|stripe| &stripe.series[handler][method].buckets[place]))
        .collect();
    let all: u64 = counts.iter().sum();
    if all == 0 {
        return;
    }
    let labels = [("handler", HANDLERS[handler]), ("method", METHODS[method])];
    let mut below = 0;
    let ends = BUCKETS.iter().map(|(end, _)| *end).chain(["+Inf"]);
    for (end, count) in ends.zip(counts) {
        below += count;
        let labels = [labels[0], labels[1], ("le", end)];
        page.sample(&format!("{name}_bucket"), &labels, below);
    }
    let took = Duration::from_nanos(total(|stripe| &stripe.series[handler][method].nanoseconds));
    page.sample(&format!("{name}_sum"), &labels, took.as_secs_f64());
    page.sample(&format!("{name}_count"), &labels, all);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_has_its_place() {
        for (place, code) in CODES.iter().enumerate() {
            let wanted = if *code == 0 { CODES.len() - 1 } else { place };
            assert_eq!(usize::from(code_index(*code)), wanted);
        }
        for code in [100, 418, 599, 600, u16::MAX] {
            assert_eq!(usize::from(code_index(code)), CODES.len() - 1, "{code}");
        }
        for (place, name) in METHODS.iter().enumerate() {
            let method = Method::from_bytes(name.to_uppercase().as_bytes()).unwrap();
            assert_eq!(usize::from(method_index(&method)), place);
        }
        let handlers = [
            (Handler::Base, "base"),
            (Handler::Blob, "blob"),
            (Handler::BlobUpload, "blob_upload"),
            (Handler::BlobUploadChunk, "blob_upload_chunk"),
            (Handler::Catalog, "catalog"),
            (Handler::Manifest, "manifest"),
            (Handler::Referrers, "referrers"),
            (Handler::Tags, "tags"),
        ];
        assert_eq!(handlers.len(), HANDLERS.len());
        for (handler, name) in handlers {
            assert_eq!(HANDLERS[handler as usize], name);
        }
    }

    /// The only test that makes requests of these handlers.
    #[test]
    fn requests_are_counted_once_whichever_thread_they_end_on() {
        let of = |line: &str| -> u64 {
            let mut page = Page::default();
            write(&mut page);
            let text = page.into_text();
            let found = text.lines().find_map(|one| one.strip_prefix(line));
            found.map_or(0, |rest| rest.trim().parse().unwrap())
        };
        let in_flight = "registry_http_in_flight_requests{handler=\"catalog\"}";
        let mut watches: Vec<Watch> = (0..10)
            .map(|_| Watch::new(Instant::now(), &Method::GET))
            .collect();
        assert_eq!(of(in_flight), 0, "nobody knows yet what they are");
        for watch in &mut watches {
            watch.begin(Handler::Catalog);
            watch.begin(Handler::Tags);
        }
        assert_eq!(of(in_flight), 10);
        watches[0].answer(StatusCode::OK);
        let threads: Vec<_> = watches
            .into_iter()
            .map(|watch| std::thread::spawn(move || drop(watch)))
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(of(in_flight), 0);
        let requests = |code| {
            of(&format!(
                "registry_http_requests_total{{code=\"{code}\",handler=\"catalog\",method=\"get\"}}"
            ))
        };
        assert_eq!((requests(200), requests(499)), (1, 9));
        let count =
            "registry_http_request_duration_seconds_count{handler=\"catalog\",method=\"get\"}";
        assert_eq!(of(count), 10);
        assert_eq!(of(&count.replace("catalog", "tags")), 0);
    }
}
