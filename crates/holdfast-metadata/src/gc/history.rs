//! What the collector did, by day.

use holdfast_model::Timestamp;

use crate::operation::{Operation, Transaction, params};
use crate::{Error, Metadata, Result};

pub(crate) const HISTORY: &str =
    "SELECT day, kind, items, size_bytes FROM gc_history WHERE day >= ?1 ORDER BY day, kind";

const MICROS_PER_DAY: i64 = 24 * 60 * 60 * 1_000_000;

/// What was taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Manifests.
    Manifests = 0,
    /// Links of repositories to blobs.
    Links = 1,
    /// Blobs given up.
    Blobs = 2,
    /// Stored objects deleted.
    Objects = 3,
}

/// What was taken away on one day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Day {
    /// When the day began, in UTC.
    pub start: Timestamp,
    /// What.
    pub kind: Kind,
    /// How many.
    pub items: u64,
    /// How many bytes they had, where that is counted.
    pub bytes: u64,
}

impl Metadata {
    /// What the collector did on the day of `since` and after it.
    pub async fn gc_history(&self, since: Timestamp) -> Result<Vec<Day>> {
        self.read(History { since }).await
    }
}

/// Adds to the day's sums.
pub(super) async fn add<T: Transaction>(
    tx: &mut T,
    now: Timestamp,
    kind: Kind,
    items: usize,
    bytes: u64,
) -> Result<()> {
    if items == 0 {
        return Ok(());
    }
    let day = now.as_micros().div_euclid(MICROS_PER_DAY);
    tx.execute(
        "INSERT INTO gc_history (day, kind, items, size_bytes) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (day, kind) DO UPDATE SET
         items = gc_history.items + excluded.items, size_bytes = gc_history.size_bytes + excluded.size_bytes",
        params![day, kind as i64, items, bytes],
    )
    .await?;
    Ok(())
}

struct History {
    since: Timestamp,
}

impl Operation for History {
    type Output = Vec<Day>;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Vec<Day>> {
        let first = self.since.as_micros().div_euclid(MICROS_PER_DAY);
        let rows = tx.query(HISTORY, params![first]).await?;
        rows.into_iter()
            .map(|mut row| {
                Ok(Day {
                    start: Timestamp::from_micros(row.integer()?.saturating_mul(MICROS_PER_DAY)),
                    kind: match row.integer()? {
                        0 => Kind::Manifests,
                        1 => Kind::Links,
                        2 => Kind::Blobs,
                        3 => Kind::Objects,
                        other => {
                            return Err(Error::corrupt(format!(
                                "the collector's history has the unknown kind {other}"
                            )));
                        }
                    },
                    items: row.size()?,
                    bytes: row.size()?,
                })
            })
            .collect()
    }
}
