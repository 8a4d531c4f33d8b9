//! How far the walk has come, and how long garbage collection is held for it.

use holdfast_model::Timestamp;

use super::ProblemKind;
use crate::operation::{Durability, Operation, Transaction, Write, params};
use crate::{Error, Metadata, Result};

pub(crate) const FIND_WALK: &str =
    "SELECT stage, cursor, verify, started_at, done_at, hold_until, repositories, repositories_done, blobs,
            blob_bytes, links, manifests, tags, problems
     FROM adoption WHERE id = 1";

/// What the walk does now; one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// It looks which repositories there are.
    Names = 0,
    /// It looks which blobs are stored.
    Blobs = 1,
    /// It reads the repositories' links, manifests and tags.
    Repositories = 2,
    /// It hands to garbage collection what no repository has.
    Settling = 3,
    /// It is over.
    Done = 4,
}

/// The walk over another registry's tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdoptionWalk {
    /// What it does now.
    pub stage: Stage,
    /// How far that is; the stage knows what it means.
    pub cursor: String,
    /// Every blob is read and compared with its digest.
    pub verify: bool,
    /// When it began.
    pub started_at: Timestamp,
    /// When it was over.
    pub done_at: Option<Timestamp>,
    /// Until when garbage collection waits; known once it is over. The end of time when something could not be
    /// read.
    pub hold_until: Option<Timestamp>,
    /// Repositories found.
    pub repositories: u64,
    /// Repositories that are done.
    pub repositories_done: u64,
    /// What was taken over.
    pub counts: Counts,
    /// Rows of the report.
    pub problems: u64,
}

impl AdoptionWalk {
    /// Whether it is over and could not read everything, so that garbage collection waits for another.
    pub fn is_unread(&self) -> bool {
        self.hold_until == Some(UNREAD)
    }
}

/// What a walk, or a part of it, has taken over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Blobs.
    pub blobs: u64,
    /// The bytes of these blobs.
    pub blob_bytes: u64,
    /// Links of repositories to blobs.
    pub links: u64,
    /// Manifests.
    pub manifests: u64,
    /// Tags.
    pub tags: u64,
}

/// Why garbage collection must not take anything now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GcHold {
    /// Another registry's tree is being adopted: what has no link yet may have one in a repository
    /// that the walk has not come to.
    WhileAdopting,
    /// The walk is over and the time to go back or to look at its report is not.
    Until(Timestamp),
    /// The walk is over and could not read everything: what has no link may have one there. A walk that can
    /// ends this.
    Unread,
}

/// The end of a hold that only another walk ends.
const UNREAD: Timestamp = Timestamp::from_micros(i64::MAX);

impl Metadata {
    /// Whether garbage collection must wait, and for what. A collector asks before each round, and
    /// neither deletes an object nor a row while this is not `None`.
    pub async fn gc_hold(&self, now: Timestamp) -> Result<Option<GcHold>> {
        let walk = self.adoption_walk().await?;
        Ok(walk.and_then(|walk| match walk.hold_until {
            _ if walk.stage != Stage::Done => Some(GcHold::WhileAdopting),
            Some(UNREAD) => Some(GcHold::Unread),
            Some(until) if now < until => Some(GcHold::Until(until)),
            _ => None,
        }))
    }

    /// The walk, if there ever was something to adopt.
    pub async fn adoption_walk(&self) -> Result<Option<AdoptionWalk>> {
        self.read(Find).await
    }

    /// Begins a walk, unless there was one; a walk that is over begins again when `again` is set.
    pub async fn begin_adoption(
        &self,
        again: bool,
        verify: bool,
        now: Timestamp,
    ) -> Result<AdoptionWalk> {
        self.write(Begin { again, verify, now }).await
    }

    /// Notes that there is nothing to adopt, unless there was a walk: what lies in storage like another registry's
    /// tree is going to be written by this one.
    pub async fn nothing_to_adopt(&self, now: Timestamp) -> Result<()> {
        self.write(Nothing { now }).await
    }

    /// Has a walk that is not over read every blob that it comes to from here on; one that was past the blobs
    /// goes through them again.
    pub async fn verify_adoption(&self) -> Result<()> {
        self.write(Verify).await
    }

    /// Notes how far a stage has come.
    pub async fn save_adoption_cursor(&self, stage: Stage, cursor: &str) -> Result<()> {
        self.write(SaveCursor {
            stage,
            cursor: cursor.to_owned(),
        })
        .await
    }

    /// Goes from one stage to the next. The last step begins the final part of the hold on garbage
    /// collection, one grace period.
    pub async fn end_adoption_stage(&self, stage: Stage, now: Timestamp) -> Result<()> {
        let hold_until = now.plus(self.grace());
        self.write(EndStage {
            stage,
            hold_until,
            now,
        })
        .await
    }
}

struct Find;

impl Operation for Find {
    type Output = Option<AdoptionWalk>;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Option<AdoptionWalk>> {
        let Some(mut row) = tx.first(FIND_WALK, params![]).await? else {
            return Ok(None);
        };
        let stage = match row.integer()? {
            0 => Stage::Names,
            1 => Stage::Blobs,
            2 => Stage::Repositories,
            3 => Stage::Settling,
            4 => Stage::Done,
            other => {
                return Err(Error::corrupt(format!(
                    "the adoption is at the unknown stage {other}"
                )));
            }
        };
        Ok(Some(AdoptionWalk {
            stage,
            cursor: row.text()?,
            verify: row.integer()? != 0,
            started_at: row.time()?,
            done_at: row.maybe_integer()?.map(Timestamp::from_micros),
            hold_until: row.maybe_integer()?.map(Timestamp::from_micros),
            repositories: row.size()?,
            repositories_done: row.size()?,
            counts: Counts {
                blobs: row.size()?,
                blob_bytes: row.size()?,
                links: row.size()?,
                manifests: row.size()?,
                tags: row.size()?,
            },
            problems: row.size()?,
        }))
    }
}

struct Nothing {
    now: Timestamp,
}

impl Operation for Nothing {
    type Output = ();

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<()> {
        tx.execute(
            "INSERT INTO adoption (id, stage, verify, started_at, done_at, hold_until) VALUES (1, 4, 0, ?1, ?1, ?1)
             ON CONFLICT (id) DO NOTHING",
            params![self.now],
        )
        .await?;
        Ok(())
    }
}

impl Write for Nothing {
    const DURABILITY: Durability = Durability::Durable;
}

struct Begin {
    again: bool,
    verify: bool,
    now: Timestamp,
}

impl Operation for Begin {
    type Output = AdoptionWalk;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<AdoptionWalk> {
        let verify = i64::from(self.verify);
        tx.execute(
            "INSERT INTO adoption (id, stage, verify, started_at) VALUES (1, 0, ?1, ?2)
             ON CONFLICT (id) DO NOTHING",
            params![verify, self.now],
        )
        .await?;
        let begun_again = if self.again {
            let reset = "UPDATE adoption SET stage = 0, cursor = '', verify = ?1, started_at = ?2, done_at = NULL,
                                hold_until = NULL, repositories_done = 0
                         WHERE id = 1 AND stage = 4";
            tx.execute(reset, params![verify, self.now]).await? > 0
        } else {
            false
        };
        if begun_again {
            tx.execute(
                "UPDATE adoption_repositories SET state = 0, since = seen_at WHERE state = 1",
                params![],
            )
            .await?;
            // What still cannot be read is found again, and holds garbage collection again.
            let readable = "DELETE FROM adoption_problems WHERE kind = ?1";
            let kind = ProblemKind::Unreadable as i64;
            let forgotten = tx.execute(readable, params![kind]).await?;
            let sum = "UPDATE adoption SET problems = problems - ?1 WHERE id = 1";
            tx.execute(sum, params![forgotten]).await?;
        }
        let walk = Find.run(tx).await?;
        walk.ok_or_else(|| Error::internal("the adoption is gone right after it began"))
    }
}

impl Write for Begin {
    const DURABILITY: Durability = Durability::Durable;
}

struct Verify;

impl Operation for Verify {
    type Output = ();

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<()> {
        tx.execute(
            "UPDATE adoption SET verify = 1, stage = CASE WHEN stage > 1 THEN 1 ELSE stage END, cursor = ''
             WHERE id = 1 AND stage < 4 AND verify = 0",
            params![],
        )
        .await
        .map(drop)
    }
}

impl Write for Verify {
    const DURABILITY: Durability = Durability::Durable;
}

struct SaveCursor {
    stage: Stage,
    cursor: String,
}

impl Operation for SaveCursor {
    type Output = ();

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<()> {
        tx.execute(
            "UPDATE adoption SET cursor = ?2 WHERE id = 1 AND stage = ?1",
            params![self.stage as i64, self.cursor.as_str()],
        )
        .await
        .map(drop)
    }
}

impl Write for SaveCursor {
    const DURABILITY: Durability = Durability::Relaxed;
}

struct EndStage {
    stage: Stage,
    hold_until: Timestamp,
    now: Timestamp,
}

impl Operation for EndStage {
    type Output = ();

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<()> {
        let stage = self.stage as i64;
        tx.execute(
            "UPDATE adoption SET stage = stage + 1, cursor = '' WHERE id = 1 AND stage = ?1",
            params![stage],
        )
        .await?;
        if self.stage == Stage::Settling {
            let unread = "SELECT 1 FROM adoption_problems WHERE kind = ?1 LIMIT 1";
            let kind = ProblemKind::Unreadable as i64;
            let hold_until = match tx.first(unread, params![kind]).await? {
                Some(_) => UNREAD,
                None => self.hold_until,
            };
            tx.execute(
                "UPDATE adoption SET done_at = ?1, hold_until = ?2 WHERE id = 1 AND stage = 4 AND done_at IS NULL",
                params![self.now, hold_until],
            )
            .await?;
        }
        Ok(())
    }
}

impl Write for EndStage {
    const DURABILITY: Durability = Durability::Durable;
}
