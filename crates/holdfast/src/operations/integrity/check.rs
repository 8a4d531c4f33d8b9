//! A check of the whole store: every row against every object and back.
//!
//! Rows come page by page, objects as the store lists them, and each is compared with what a look-up by key
//! says of the other side; so memory does not grow with the store, but for some bytes per blob in a bucket. It runs beside pushes, deletions and
//! the collector: what looks wrong is looked at again, in an order in which only damage looks wrong twice.
//!
//! A repair never removes what somebody pushed: it marks, links, queues, and writes down again what follows
//! from other rows and from bytes that hash right. What nothing is known of goes through the outbox, after
//! the grace period.

use holdfast_metadata::{Affected, EngineFault, GcHold, Repair};
use holdfast_model::Digest;
use tokio::sync::mpsc;

use super::report::{Event, Finding, Kind, Outcome, Summary};
use super::strays::Keys;
use super::verify::Pace;
use super::{AFFECTED_NAMED, Operations};
use crate::clock;
use crate::error_chain::chain;
use crate::operations::Error;

/// Rows read at a time.
pub(super) const PAGE: usize = 500;

/// What a check is to do.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CheckOptions {
    /// Repair what can be repaired.
    pub(crate) repair: bool,
    /// Read all bytes and compare their digests.
    pub(crate) read_data: bool,
    /// Most bytes read in a second.
    pub(crate) bytes_per_second: Option<u64>,
}

/// Why a check ended early.
#[derive(Debug)]
pub(super) enum Ended {
    /// Nobody reads what it says.
    Gone,
    /// It cannot go on.
    Failed(Error),
}

impl<E: Into<Error>> From<E> for Ended {
    fn from(error: E) -> Ended {
        Ended::Failed(error.into())
    }
}

/// A check under way.
pub(super) struct Check {
    pub(super) operations: Operations,
    pub(super) options: CheckOptions,
    pub(super) summary: Summary,
    pub(super) pace: Pace,
    /// Another registry's tree is being adopted: what has no link or no row may get one.
    pub(super) adopting: bool,
    /// The keys of blobs that are named after uploads.
    pub(super) keys: Keys,
    /// Why objects of which nothing is known are not given up, to be added to what is said of them.
    pub(super) why_kept: &'static str,
    events: mpsc::Sender<Event>,
}

impl Operations {
    /// Checks everything, and says what it finds as it goes. Ends early when nobody listens any more.
    pub(crate) async fn check(
        &self,
        options: CheckOptions,
        events: mpsc::Sender<Event>,
    ) -> Result<(), Error> {
        if options.repair {
            self.writable()?;
        }
        let Ok(_only) = self.checking.try_lock() else {
            return Err(Error::CheckUnderWay);
        };
        let mut check = Check::new(self, options, events).await?;
        match check.run().await {
            Ok(()) | Err(Ended::Gone) => Ok(()),
            Err(Ended::Failed(error)) => Err(error),
        }
    }
}

impl Check {
    pub(super) async fn new(
        operations: &Operations,
        options: CheckOptions,
        events: mpsc::Sender<Event>,
    ) -> Result<Check, Error> {
        Ok(Check {
            operations: operations.clone(),
            options,
            summary: Summary::default(),
            pace: Pace::new(options.bytes_per_second),
            adopting: matches!(
                operations.metadata.gc_hold(clock::now()).await?,
                Some(GcHold::WhileAdopting | GcHold::Unread)
            ),
            keys: Keys::default(),
            why_kept: "",
            events,
        })
    }

    async fn run(&mut self) -> Result<(), Ended> {
        // Links before objects: what they still need must not be taken for an orphan.
        self.begin("database").await?;
        if self.database().await? {
            self.rows_and_objects().await?;
        } else {
            let damaged = std::io::Error::other(
                "the database file is damaged; the next start puts it together from a snapshot",
            );
            self.unchecked("rows and objects", &damaged).await?;
        }
        let Summary {
            links,
            manifests,
            blobs,
            objects,
            bytes_read,
            found,
            repaired,
            unchecked,
        } = self.summary;
        let (repair, read_data) = (self.options.repair, self.options.read_data);
        tracing::info!(
            repair,
            read_data,
            links,
            manifests,
            blobs,
            objects,
            bytes_read,
            found,
            repaired,
            unchecked,
            "checked the store"
        );
        self.say(Event::Summary(self.summary)).await
    }

    async fn rows_and_objects(&mut self) -> Result<(), Ended> {
        self.begin("links").await?;
        self.links().await?;
        self.begin("manifests").await?;
        self.manifests().await?;
        self.begin("tags").await?;
        self.tags().await?;
        self.begin("repositories").await?;
        self.repositories().await?;
        self.begin("blobs").await?;
        self.blobs().await?;
        self.begin("objects").await?;
        self.objects().await?;
        self.begin("uploads").await?;
        self.uploads().await
    }

    async fn begin(&self, part: &str) -> Result<(), Ended> {
        self.say(Event::Begin {
            part: part.to_owned(),
        })
        .await
    }

    async fn say(&self, event: Event) -> Result<(), Ended> {
        self.events.send(event).await.map_err(|_| Ended::Gone)
    }

    /// Reports a damage as it is.
    pub(super) async fn report(&mut self, finding: Finding) -> Result<(), Ended> {
        self.summary.found += 1;
        self.summary.repaired += u64::from(finding.outcome == Outcome::Repaired);
        if finding.outcome == Outcome::Repaired {
            let Finding { kind, detail, .. } = &finding;
            tracing::info!(kind = kind.name(), digest = ?finding.digest, detail, "repaired damage");
        }
        self.say(Event::Finding(finding)).await
    }

    /// Reports a damage, repaired if that is asked for and possible. When there is nothing to repair any
    /// more, there was no damage either.
    pub(super) async fn settle(
        &mut self,
        mut finding: Finding,
        repair: Option<Repair>,
    ) -> Result<(), Ended> {
        if self.options.repair {
            finding.outcome = Outcome::Left;
            if let Some(repair) = repair {
                let metadata = self.operations.metadata();
                match metadata.repair(repair, clock::now()).await {
                    Ok(true) => finding.outcome = Outcome::Repaired,
                    Ok(false) => return Ok(()),
                    Err(error) => {
                        finding.detail =
                            format!("{}; not repaired: {}", finding.detail, chain(&error));
                    }
                }
            }
        }
        self.report(finding).await
    }

    /// Says that something could not be looked at.
    pub(super) async fn unchecked(
        &mut self,
        subject: impl Into<String>,
        error: &(dyn std::error::Error + Sync),
    ) -> Result<(), Ended> {
        self.summary.unchecked += 1;
        let (subject, reason) = (subject.into(), chain(error));
        self.say(Event::Unchecked { subject, reason }).await
    }

    /// What needs a blob.
    pub(super) async fn affected(&self, digest: &Digest) -> Result<Affected, Error> {
        let metadata = self.operations.metadata();
        Ok(metadata.affected_by_blob(digest, AFFECTED_NAMED).await?)
    }

    /// Whether what the database says can be believed.
    async fn database(&mut self) -> Result<bool, Ended> {
        /// References whose rows other parts of the check look at one by one.
        const ELSEWHERE: [(&str, &str); 3] = [
            ("repo_blobs", "blobs"),
            ("manifest_blobs", "repo_blobs"),
            ("tags", "manifests"),
        ];
        let metadata = self.operations.metadata().clone();
        let examined = tokio::task::spawn_blocking(move || metadata.examine_engine()).await;
        let Ok(examined) = examined else {
            return Err(Ended::Gone);
        };
        let mut readable = true;
        for fault in examined? {
            readable &= !matches!(fault, EngineFault::Unreadable(_));
            let finding = match fault {
                EngineFault::File(fault) | EngineFault::Unreadable(fault) => {
                    Finding::new(Kind::DatabaseFile, None, fault)
                }
                EngineFault::References {
                    table,
                    parent,
                    rows,
                } => {
                    if ELSEWHERE.contains(&(table.as_str(), parent.as_str())) {
                        continue;
                    }
                    let detail = format!(
                        "{rows} rows of {table} refer to rows of {parent} that are not there"
                    );
                    Finding::new(Kind::DatabaseReference, None, detail)
                }
            };
            self.settle(finding, None).await?;
        }
        Ok(readable)
    }
}
