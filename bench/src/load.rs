//! Load: clients in a closed loop for throughput, requests at a fixed rate for latency.
//!
//! All clients of a measurement are futures on one thread. Where that thread has a core to itself it never
//! sleeps: it asks for events again and again, so that the server is not charged for waking it. (A wake-up
//! of a sleeping core is dear, in a virtual machine above all; it would be most of what is measured.)
//!
//! Latency counts from the moment a request was due, not from when a connection was free to send it, so a
//! server that stalls is charged for every request it held up ("coordinated omission").

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use hdrhistogram::Histogram;
use tokio::sync::{Mutex, mpsc};

use crate::Result;
use crate::client::Connection;

/// A request that is sent this much later than it was due shows that the server cannot carry the rate.
const MAX_LAG: Duration = Duration::from_secs(1);
/// Latencies above this are counted as this.
const MAX_LATENCY_MICROSECONDS: u64 = 60_000_000;

/// When a closed loop ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    /// After so much time; what is under way then is cut off.
    After(Duration),
    /// When so many jobs are done.
    Jobs(usize),
    /// When either is reached.
    AfterOrJobs(Duration, usize),
}

/// How the next request's time is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// By looking at the clock, on a core that nobody else needs.
    Spinning,
    /// By a thread that sleeps.
    Sleeping,
}

impl Waiting {
    /// Spinning is for those who have a core to themselves.
    pub(crate) fn for_own_core(own_core: bool) -> Waiting {
        match own_core {
            true => Waiting::Spinning,
            false => Waiting::Sleeping,
        }
    }
}

/// What an open loop found.
pub(crate) struct Latencies {
    /// In microseconds.
    pub(crate) histogram: Histogram<u64>,
    /// Whether the server fell behind; the latencies then say nothing.
    pub(crate) overloaded: bool,
}

/// Each connection does one job after the other. Jobs are numbered from 0 in the order they begin. Returns
/// how many were finished.
pub(crate) async fn closed(
    connections: Vec<Connection>,
    end: End,
    spin: bool,
    job: impl AsyncFn(&mut Connection, usize) -> Result<()>,
) -> Result<u64> {
    let jobs = match end {
        End::After(_) => usize::MAX,
        End::Jobs(count) | End::AfterOrJobs(_, count) => count,
    };
    let (next, done) = (Cell::new(0), Cell::new(0));
    let client = async |mut connection: Connection| -> Result<()> {
        loop {
            let index = next.get();
            if index >= jobs {
                return Ok(());
            }
            next.set(index + 1);
            job(&mut connection, index).await?;
            done.set(done.get() + 1);
        }
    };
    let work = all(connections.into_iter().map(client));
    match end {
        End::Jobs(_) => spinning(spin, work).await?,
        End::After(time) | End::AfterOrJobs(time, _) => {
            if let Ok(result) = tokio::time::timeout(time, spinning(spin, work)).await {
                result?;
            }
        }
    }
    Ok(done.get())
}

/// Jobs at a fixed rate for so long, each on the next free connection.
pub(crate) async fn open(
    connections: Vec<Connection>,
    rate: f64,
    time: Duration,
    waiting: Waiting,
    job: impl AsyncFn(&mut Connection, usize) -> Result<()>,
) -> Result<Latencies> {
    let histogram = Histogram::new_with_bounds(1, MAX_LATENCY_MICROSECONDS, 3)?;
    let histogram = RefCell::new(histogram);
    let overloaded = Cell::new(false);
    let schedule = Schedule::new(rate, time);
    let ticks = match waiting {
        Waiting::Spinning => None,
        Waiting::Sleeping => Some(schedule.ticks()),
    };
    // One client at a time waits for the next request's time, the others wait for the gate.
    let gate = Mutex::new((0, ticks));
    let client = async |mut connection: Connection| -> Result<()> {
        loop {
            let (index, due) = {
                let mut gate = gate.lock().await;
                let index = gate.0;
                let Some(due) = schedule.due(index) else {
                    return Ok(());
                };
                gate.0 += 1;
                match &mut gate.1 {
                    Some(ticks) => {
                        ticks.recv().await;
                    }
                    None => {
                        while Instant::now() < due {
                            tokio::task::yield_now().await;
                        }
                    }
                }
                (index, due)
            };
            if overloaded.get() || due.elapsed() > MAX_LAG {
                overloaded.set(true);
                return Ok(());
            }
            job(&mut connection, index).await?;
            let microseconds = u64::try_from(due.elapsed().as_micros())?;
            histogram.borrow_mut().saturating_record(microseconds);
        }
    };
    let spin = waiting == Waiting::Spinning;
    spinning(spin, all(connections.into_iter().map(client))).await?;
    Ok(Latencies {
        histogram: histogram.into_inner(),
        overloaded: overloaded.get() || is_late(schedule.start.elapsed(), time),
    })
}

/// Whether requests that were spread over `time` took so much longer that the server cannot carry their rate.
fn is_late(took: Duration, time: Duration) -> bool {
    took > time + Duration::max(time / 10, MAX_LAG / 10)
}

/// When requests are due.
#[derive(Clone, Copy)]
struct Schedule {
    start: Instant,
    rate: f64,
    count: usize,
}

impl Schedule {
    fn new(rate: f64, time: Duration) -> Schedule {
        Schedule {
            start: Instant::now(),
            rate,
            count: (rate * time.as_secs_f64()).round() as usize,
        }
    }

    fn due(&self, index: usize) -> Option<Instant> {
        let after = Duration::from_secs_f64(index as f64 / self.rate);
        (index < self.count).then(|| self.start + after)
    }

    /// A message per request, when it is due. The runtime's own clock counts whole milliseconds.
    fn ticks(self) -> mpsc::UnboundedReceiver<()> {
        let (sender, receiver) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for due in (0..).map_while(|index| self.due(index)) {
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                if sender.send(()).is_err() {
                    return;
                }
            }
        });
        receiver
    }
}

/// Runs all to their end, or to the first error.
pub(crate) async fn all(
    work: impl Iterator<Item = impl Future<Output = Result<()>>>,
) -> Result<()> {
    let mut work: FuturesUnordered<_> = work.collect();
    while let Some(result) = work.next().await {
        result?;
    }
    Ok(())
}

/// Keeps the thread from sleeping while the work is under way.
async fn spinning<T>(spin: bool, work: impl Future<Output = T>) -> T {
    if !spin {
        return work.await;
    }
    let spinner = async {
        loop {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        result = work => result,
        endless = spinner => endless,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_due_at_the_rate() {
        let schedule = Schedule::new(200.0, Duration::from_millis(50));
        let after: Vec<Duration> = (0..)
            .map_while(|index| schedule.due(index))
            .map(|due| due - schedule.start)
            .collect();
        assert_eq!(after.len(), 10);
        assert_eq!(after[0], Duration::ZERO);
        assert_eq!(after[9], Duration::from_millis(45));
    }

    #[test]
    fn a_server_that_falls_behind_is_late() {
        let second = Duration::from_secs(1);
        assert!(!is_late(second * 21 / 20, second));
        assert!(is_late(second * 23 / 20, second));
        assert!(!is_late(second / 10, second / 100));
    }

    #[test]
    fn a_message_comes_for_every_request() {
        let mut ticks = Schedule::new(100_000.0, Duration::from_millis(1)).ticks();
        let mut count = 0;
        while ticks.blocking_recv().is_some() {
            count += 1;
        }
        assert_eq!(count, 100);
    }
}
