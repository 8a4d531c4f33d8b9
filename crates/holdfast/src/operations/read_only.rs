//! Read-only mode: pulls go on and nothing changes content.
//!
//! The configuration turns it on for as long as it says so; a switch turns it on and off while the registry
//! runs, and is kept in the database. It is on while either says so.
//!
//! A change counts itself before it looks whether it may begin, and turning the switch sets it before it looks
//! at the count. So when the switch is on and the count is zero, no change is under way and none begins.
//!
//! Upload sessions are no content: a chunk that was being sent is still taken, and a session waits, with all
//! it has, until it can be finished. Leases are renewed and upload sessions recorded as ever.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicI64, AtomicUsize};
use std::time::Duration;

use holdfast_model::Timestamp;
use tokio::sync::{Mutex, Notify};

use super::{Error, Operations, Result};
use crate::clock;

/// The setting that holds the time the switch was turned on; empty while it is off.
const SETTING: &str = "maintenance.readonly";

/// How long turning it on waits for the changes that are under way.
const SETTLE_WAIT: Duration = Duration::from_secs(30);

/// Between two looks at what another node has set, and so the longest time after which a node does what another was
/// told.
pub(crate) const FOLLOW_INTERVAL: Duration = Duration::from_secs(2);

/// What the switch holds while it is off.
const OFF: i64 = 0;

/// Whether changes may begin, and how many are under way. Clones are one.
#[derive(Clone)]
pub(super) struct ReadOnly(Arc<State>);

struct State {
    configured: bool,
    /// When it was turned on, in microseconds.
    switched: AtomicI64,
    changes: AtomicUsize,
    idle: Notify,
    turning: Mutex<()>,
}

/// Whether the registry takes changes, and why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Maintenance {
    /// The configuration says read-only.
    pub configured: bool,
    /// When the switch was turned on, if it is.
    pub switched: Option<Timestamp>,
    /// Changes under way.
    pub changes: usize,
}

impl Maintenance {
    /// Whether changes are refused.
    pub(crate) fn read_only(&self) -> bool {
        self.configured || self.switched.is_some()
    }
}

/// A change under way, for as long as this lives.
pub(super) struct Change(ReadOnly);

impl Drop for Change {
    fn drop(&mut self) {
        let state = &self.0.0;
        if state.changes.fetch_sub(1, SeqCst) == 1 && state.switched.load(SeqCst) != OFF {
            state.idle.notify_waiters();
        }
    }
}

impl ReadOnly {
    pub(super) fn new(configured: bool) -> ReadOnly {
        ReadOnly(Arc::new(State {
            configured,
            switched: AtomicI64::new(OFF),
            changes: AtomicUsize::new(0),
            idle: Notify::new(),
            turning: Mutex::new(()),
        }))
    }

    fn is_on(&self) -> bool {
        self.0.configured || self.0.switched.load(SeqCst) != OFF
    }

    /// Begins a change, unless there may be none.
    fn change(&self) -> Option<Change> {
        self.0.changes.fetch_add(1, SeqCst);
        let change = Change(self.clone());
        (!self.is_on()).then_some(change)
    }

    async fn settled(&self) {
        loop {
            let idle = self.0.idle.notified();
            if self.0.changes.load(SeqCst) == 0 {
                return;
            }
            idle.await;
        }
    }

    fn state(&self) -> Maintenance {
        let switched = self.0.switched.load(SeqCst);
        Maintenance {
            configured: self.0.configured,
            switched: (switched != OFF).then(|| Timestamp::from_micros(switched)),
            changes: self.0.changes.load(SeqCst),
        }
    }
}

impl Operations {
    /// Whether changes are refused now: jobs that change content ask, and pause.
    pub(crate) fn read_only(&self) -> bool {
        self.read_only.is_on()
    }

    /// Whether the registry takes changes, and why not.
    pub(crate) fn maintenance(&self) -> Maintenance {
        self.read_only.state()
    }

    /// Turns the switch as it was left in the database, perhaps by another node. To be called before the first
    /// request, and now and then where nodes share a database.
    pub(crate) async fn follow_read_only(&self) -> Result<()> {
        let state = &self.read_only.0;
        let _turning = state.turning.lock().await;
        let text = self.metadata.setting(SETTING).await?.unwrap_or_default();
        let was = state.switched.load(SeqCst);
        if text.is_empty() == (was == OFF) {
            return Ok(());
        }
        let since = match text.parse() {
            _ if text.is_empty() => OFF,
            Ok(since) if since != OFF => since,
            // Whatever stands there, somebody turned it on.
            _ => clock::now().as_micros(),
        };
        state.switched.store(since, SeqCst);
        tracing::info!(
            read_only = since != OFF,
            "the switch to read-only is turned as the database says"
        );
        Ok(())
    }

    /// Turns the switch. Turned on, no change begins from now on.
    pub(crate) async fn set_read_only(&self, on: bool) -> Result<()> {
        let state = &self.read_only.0;
        let _turning = state.turning.lock().await;
        let was = state.switched.load(SeqCst);
        if on && was == OFF {
            let since = clock::now().as_micros();
            state.switched.store(since, SeqCst);
            let text = since.to_string();
            if let Err(error) = self.metadata.put_setting(SETTING, &text).await {
                state.switched.store(OFF, SeqCst);
                return Err(error.into());
            }
            tracing::info!("the registry is read-only from now on");
        } else if !on && was != OFF {
            self.metadata.put_setting(SETTING, "").await?;
            state.switched.store(OFF, SeqCst);
            tracing::info!(
                read_only = state.configured,
                "the switch to read-only is turned off"
            );
        }
        Ok(())
    }

    /// Waits until no change is under way, for [`SETTLE_WAIT`] at most: some may be left.
    ///
    /// Those of other nodes are not known here; they refuse new ones by then.
    pub(crate) async fn settle(&self) -> Maintenance {
        if self.metadata.is_shared() {
            tokio::time::sleep(FOLLOW_INTERVAL).await;
        }
        let _ = tokio::time::timeout(SETTLE_WAIT, self.read_only.settled()).await;
        self.maintenance()
    }

    /// Refuses in read-only mode.
    pub(super) fn writable(&self) -> Result<()> {
        if self.read_only() {
            Err(Error::ReadOnly)
        } else {
            Ok(())
        }
    }

    /// Begins a change of content, which lasts as long as the answer lives.
    pub(super) fn change(&self) -> Result<Change> {
        self.read_only.change().ok_or(Error::ReadOnly)
    }

    /// The same, for one that takes content away at somebody's wish.
    pub(super) fn deletion(&self) -> Result<Change> {
        let change = self.change()?;
        if self.rules.deletes {
            Ok(change)
        } else {
            Err(Error::DeletesOff)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        for (configured, switched, wanted) in [
            (false, OFF, false),
            (false, 1, true),
            (true, OFF, true),
            (true, 1, true),
        ] {
            let read_only = ReadOnly::new(configured);
            read_only.0.switched.store(switched, SeqCst);
            assert_eq!(read_only.is_on(), wanted, "{configured} {switched}");
            assert_eq!(read_only.state().read_only(), wanted);
            assert_eq!(read_only.change().is_none(), wanted);
            assert_eq!(read_only.state().changes, 0, "no count is left behind");
        }
    }

    #[tokio::test]
    async fn the_last_change_ends_the_waiting() {
        let read_only = ReadOnly::new(false);
        let (one, two) = (read_only.change(), read_only.change());
        assert!(one.is_some() && two.is_some());
        read_only.0.switched.store(1, SeqCst);
        assert!(read_only.change().is_none());
        let waits = read_only.clone();
        let mut waiting = tokio::spawn(async move { waits.settled().await });
        drop(one);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(two);
        (&mut waiting).await.unwrap();
        assert_eq!(read_only.state().changes, 0);
    }

    /// Many change and one turns: after it settled, nothing changes any more.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn nothing_changes_after_it_settled() {
        for _ in 0..200 {
            let read_only = ReadOnly::new(false);
            let content = Arc::new(AtomicUsize::new(0));
            let pushers: Vec<_> = (0..4)
                .map(|_| {
                    let (read_only, content) = (read_only.clone(), Arc::clone(&content));
                    tokio::spawn(async move {
                        while let Some(_change) = read_only.change() {
                            content.fetch_add(1, SeqCst);
                            tokio::task::yield_now().await;
                            content.fetch_add(1, SeqCst);
                        }
                    })
                })
                .collect();
            tokio::task::yield_now().await;
            read_only.0.switched.store(1, SeqCst);
            read_only.settled().await;
            let settled = content.load(SeqCst);
            for pusher in pushers {
                pusher.await.unwrap();
            }
            assert_eq!(content.load(SeqCst), settled);
        }
    }
}
