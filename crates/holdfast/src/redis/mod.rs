//! Redis as a place for payloads of manifests that nodes share.
//!
//! Nothing depends on it. A value is the payload of the digest in its key: it never changes, and it is compared with
//! that digest before it is used. Redis may be flushed, stop, hang or lie: the database answers then, as it does
//! without Redis. It holds no locks and no leases, since Redis promises neither durability nor agreement, and no
//! news are sent through it, since nothing that nodes remember can become wrong (`holdfast-metadata/payloads.rs`).
//!
//! A request never connects and never waits longer than `readtimeout`, and not at all while nobody is connected. A
//! command that fails or takes too long ends the connection for all; a task of its own makes it again, with
//! growing pauses. So a server that hangs costs the requests under way one `readtimeout`, and the next ones nothing.

mod servers;

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use ::redis::{Cmd, FromRedisValue};
use bytes::Bytes;
use holdfast_metadata::{PayloadReply, SharedPayloads};
use holdfast_model::{Digest, Hasher};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::config::Redis;

use servers::{Connection, connect, is_refusal};

/// Payloads below this come with the answer that the database gives anyway.
const PAYLOAD_MIN_BYTES: u64 = 16 << 10;
/// Payloads above this are not kept: they would hold up others on the way.
const PAYLOAD_MAX_BYTES: u64 = 1 << 20;
/// Most questions under way; others go to the database at once. With the size above, it bounds the memory.
const QUESTIONS_MAX: usize = 64;
/// Most values that wait to be stored; others are not.
const VALUES_WAITING_MAX: usize = 16;
/// How long a value is kept: what nobody deletes must end by itself, whatever the server does when it is full.
const VALUE_SECONDS: u64 = 24 * 60 * 60;
/// What keys begin with.
const PREFIX: &str = "holdfast:manifest:";

const NO_SIZES: RangeInclusive<u64> = RangeInclusive::new(1, 0);

/// Payloads in Redis.
#[derive(Debug)]
pub(crate) struct RedisPayloads {
    shared: Arc<Shared>,
    values: mpsc::Sender<(Digest, Bytes)>,
    _keeper: AbortOnDropHandle<()>,
}

/// What came of it since the start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Payloads asked for.
    pub requests: AtomicU64,
    /// Payloads that were there.
    pub hits: AtomicU64,
    /// Commands that failed or took too long.
    pub errors: AtomicU64,
    /// Values that were not what their key says.
    pub wrong: AtomicU64,
    /// Values stored.
    pub stored: AtomicU64,
}

#[derive(Debug)]
struct Shared {
    settings: Redis,
    live: RwLock<Option<Live>>,
    questions: Semaphore,
    counters: Counters,
}

/// A connection that is in use.
#[derive(Clone, Debug)]
struct Live {
    connection: Connection,
    /// Cancelled by whoever finds it to be of no use.
    lost: CancellationToken,
}

impl RedisPayloads {
    /// Begins to connect.
    pub(crate) fn start(settings: Redis) -> RedisPayloads {
        let shared = Arc::new(Shared {
            settings,
            live: RwLock::default(),
            questions: Semaphore::new(QUESTIONS_MAX),
            counters: Counters::default(),
        });
        let (values, waiting) = mpsc::channel(VALUES_WAITING_MAX);
        let keeper = tokio::spawn(keep(Arc::clone(&shared), waiting));
        RedisPayloads {
            shared,
            values,
            _keeper: AbortOnDropHandle::new(keeper),
        }
    }

    /// What came of it.
    pub(crate) fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// Whether it is asked now.
    pub(crate) fn is_connected(&self) -> bool {
        self.shared.live().is_some()
    }
}

impl SharedPayloads for RedisPayloads {
    fn sizes(&self) -> RangeInclusive<u64> {
        if self.is_connected() {
            PAYLOAD_MIN_BYTES..=PAYLOAD_MAX_BYTES
        } else {
            NO_SIZES
        }
    }

    fn get<'a>(&'a self, digest: &'a Digest, size: u64) -> PayloadReply<'a> {
        Box::pin(self.shared.get(digest, size))
    }

    fn put(&self, digest: &Digest, payload: &Bytes) {
        if self.is_connected() {
            // When many wait, this one is stored another time.
            let _ = self.values.try_send((*digest, payload.clone()));
        }
    }
}

impl Shared {
    fn live(&self) -> Option<Live> {
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
        live.as_ref()
            .filter(|live| !live.lost.is_cancelled())
            .cloned()
    }

    fn set_live(&self, now: Option<Live>) {
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = now;
    }

    async fn get(&self, digest: &Digest, size: u64) -> Option<Bytes> {
        let live = self.live()?;
        let _permit = self.questions.try_acquire().ok()?;
        count(&self.counters.requests);
        // One byte more than there should be, and no more than that, whatever is there.
        let mut command = ::redis::cmd("GETRANGE");
        command.arg(key(digest)).arg(0).arg(size);
        let limit = self.settings.read_timeout;
        let value: Vec<u8> = self.ask(&live, &command, limit).await?;
        if value.is_empty() {
            return None;
        }
        if value.len() as u64 != size || Hasher::digest(digest.algorithm(), &value) != *digest {
            count(&self.counters.wrong);
            tracing::warn!(%digest, "Redis holds another value than the payload of this digest");
            return None;
        }
        count(&self.counters.hits);
        Some(Bytes::from(value))
    }

    /// Ends the connection; who comes first tells of it.
    fn lose(&self, live: &Live, why: &str) {
        if !live.lost.is_cancelled() {
            live.lost.cancel();
            tracing::warn!(
                why,
                "the connection to Redis is lost; the database answers alone"
            );
        }
    }

    async fn put(&self, live: &Live, digest: &Digest, payload: &Bytes) {
        let mut command = ::redis::cmd("SET");
        command.arg(key(digest)).arg(&payload[..]);
        command.arg("EX").arg(VALUE_SECONDS);
        let limit = self.settings.write_timeout;
        let stored: Option<()> = self.ask(live, &command, limit).await;
        if stored.is_some() {
            count(&self.counters.stored);
        }
    }

    /// The answer to a command. One that fails or takes longer than `limit` ends the connection, unless the server
    /// has only refused it.
    async fn ask<T: FromRedisValue>(
        &self,
        live: &Live,
        command: &Cmd,
        limit: Duration,
    ) -> Option<T> {
        match timeout(limit, live.connection.ask(command)).await {
            Ok(Ok(value)) => return Some(value),
            Ok(Err(error)) if is_refusal(&error) => {
                tracing::debug!(%error, "Redis refuses a command");
            }
            Ok(Err(error)) => self.lose(live, &error.to_string()),
            Err(_) => self.lose(live, &format!("no answer within {limit:?}")),
        }
        count(&self.counters.errors);
        None
    }

    /// Stores values until the connection is lost.
    async fn serve(&self, live: &Live, waiting: &mut mpsc::Receiver<(Digest, Bytes)>) {
        loop {
            tokio::select! {
                biased;
                () = live.lost.cancelled() => return,
                value = waiting.recv() => match value {
                    Some((digest, payload)) => self.put(live, &digest, &payload).await,
                    // Nobody is left who would ask.
                    None => live.lost.cancel(),
                },
            }
        }
    }
}

/// Connects, again and again.
async fn keep(shared: Arc<Shared>, mut waiting: mpsc::Receiver<(Digest, Bytes)>) {
    let settings = &shared.settings;
    let mut pause = settings.pause_min;
    let mut told = false;
    loop {
        match connect(settings).await {
            Ok(connection) => {
                tracing::info!("connected to Redis");
                told = false;
                let live = Live {
                    connection,
                    lost: CancellationToken::new(),
                };
                let since = Instant::now();
                shared.set_live(Some(live.clone()));
                shared.serve(&live, &mut waiting).await;
                shared.set_live(None);
                // One that is lost each time as soon as it is used does not count as being well.
                if since.elapsed() > settings.pause_max {
                    pause = settings.pause_min;
                }
            }
            Err(error) if told => tracing::debug!(error, "cannot connect to Redis"),
            Err(error) => {
                told = true;
                tracing::warn!(error, "cannot connect to Redis; the database answers alone");
            }
        }
        sleep(pause).await;
        pause = (pause * 2).min(settings.pause_max);
    }
}

fn key(digest: &Digest) -> String {
    format!("{PREFIX}{digest}")
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
