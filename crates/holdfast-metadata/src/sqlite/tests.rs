//! What the engine itself promises: batches, answers after the commit, survival, and look-ups whose
//! cost does not grow with the database.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use holdfast_model::Timestamp;
use rusqlite::{Connection, StatementStatus};
use tokio::sync::oneshot::error::TryRecvError;

use super::Sqlite;
use super::connection::{self, Mode};
use crate::cache::Versions;
use crate::operation::{Durability, Operation, Transaction, Write, params};
use crate::statements::READS;
use crate::{Error, Location, Options, Result};

const NOW: Timestamp = Timestamp::from_micros(1);

struct Engine {
    sqlite: Sqlite,
    file: std::path::PathBuf,
    _directory: tempfile::TempDir,
}

fn engine_with(configure: impl FnOnce(&mut Options)) -> Engine {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("metadata.db");
    let mut options = Options::new(Location::File(file.clone()), 1);
    configure(&mut options);
    let sqlite = Sqlite::open(&options, Arc::new(Versions::new()), NOW).unwrap();
    Engine {
        sqlite,
        file,
        _directory: directory,
    }
}

fn engine() -> Engine {
    engine_with(|_| {})
}

impl Engine {
    /// What another connection sees.
    fn settings(&self) -> i64 {
        let other = Connection::open(&self.file).unwrap();
        other
            .query_row("SELECT count(*) FROM settings", [], |row| row.get(0))
            .unwrap()
    }

    fn commits(&self) -> u64 {
        self.sqlite
            .totals()
            .commits
            .load(std::sync::atomic::Ordering::Relaxed)
    }
}

/// Stores a setting, then does as told.
struct Step {
    name: &'static str,
    then: Then,
}

enum Then {
    Succeed,
    Fail,
    Panic,
    /// Says that it is inside, and waits to be let out.
    Wait(Mutex<(Sender<()>, Receiver<()>)>),
    /// Ends the transaction under everybody's feet, as SQLite does when the disk is full.
    EndTransaction,
}

impl Operation for Step {
    type Output = ();

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<()> {
        tx.execute(
            "INSERT INTO settings (name, value) VALUES (?1, '')",
            params![self.name],
        )
        .await?;
        match &self.then {
            Then::Succeed => Ok(()),
            Then::Fail => Err(Error::Overloaded),
            Then::Panic => panic!("as the test asks"),
            Then::Wait(gate) => {
                let (entered, leave) = &*gate.lock().unwrap();
                entered.send(()).unwrap();
                leave.recv().unwrap();
                Ok(())
            }
            Then::EndTransaction => {
                tx.execute("ROLLBACK", params![]).await?;
                Err(Error::Full(Arc::new(std::io::Error::other("no space"))))
            }
        }
    }
}

impl Write for Step {
    const DURABILITY: Durability = Durability::Durable;
}

/// The same, without need of a sync.
struct RelaxedStep(Step);

impl Operation for RelaxedStep {
    type Output = ();

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<()> {
        self.0.run(tx).await
    }
}

impl Write for RelaxedStep {
    const DURABILITY: Durability = Durability::Relaxed;
}

fn step(name: &'static str) -> Step {
    Step {
        name,
        then: Then::Succeed,
    }
}

/// A step that waits inside the transaction, the news that it is there, and the way to let it go on.
fn gate(name: &'static str) -> (Step, Receiver<()>, Sender<()>) {
    let ((entered, is_in), (let_out, leave)) = (channel(), channel());
    (
        Step {
            name,
            then: Then::Wait(Mutex::new((entered, leave))),
        },
        is_in,
        let_out,
    )
}

#[test]
fn changes_that_wait_share_one_commit_and_are_answered_after_it() {
    let engine = engine();
    let (first, first_in, let_first_out) = gate("first");
    let first = engine.sqlite.writer.send(first).unwrap();
    first_in.recv().unwrap();
    // The writer is inside a batch: these join it, and the last holds it open.
    let mut waiting: Vec<_> = ["a", "b", "c"]
        .map(|name| engine.sqlite.writer.send(step(name)).unwrap())
        .into_iter()
        .collect();
    let (last, last_in, let_last_out) = gate("last");
    let last = engine.sqlite.writer.send(last).unwrap();
    let_first_out.send(()).unwrap();
    last_in.recv().unwrap();

    for answer in &mut waiting {
        assert!(
            matches!(answer.try_recv(), Err(TryRecvError::Empty)),
            "run, not committed, not answered"
        );
    }
    assert_eq!((engine.settings(), engine.commits()), (0, 0));

    let_last_out.send(()).unwrap();
    for answer in waiting.into_iter().chain([first, last]) {
        answer.blocking_recv().unwrap().unwrap();
        assert_eq!(engine.settings(), 5, "an answer comes after the commit");
    }
    assert_eq!(engine.commits(), 1);
}

#[test]
fn a_durable_change_does_not_join_a_batch_without_sync() {
    let engine = engine();
    let (first, is_in, let_out) = gate("first");
    let first = engine.sqlite.writer.send(RelaxedStep(first)).unwrap();
    is_in.recv().unwrap();
    let relaxed = engine
        .sqlite
        .writer
        .send(RelaxedStep(step("relaxed")))
        .unwrap();
    let durable = engine.sqlite.writer.send(step("durable")).unwrap();
    let also = engine
        .sqlite
        .writer
        .send(RelaxedStep(step("rides along")))
        .unwrap();
    let_out.send(()).unwrap();
    for answer in [first, relaxed, durable, also] {
        answer.blocking_recv().unwrap().unwrap();
    }
    assert_eq!((engine.settings(), engine.commits()), (4, 2));
}

#[test]
fn a_failing_or_panicking_change_is_undone_alone() {
    let engine = engine();
    let (first, is_in, let_out) = gate("first");
    let first = engine.sqlite.writer.send(first).unwrap();
    is_in.recv().unwrap();
    let fails = engine
        .sqlite
        .writer
        .send(Step {
            name: "fails",
            then: Then::Fail,
        })
        .unwrap();
    let panics = engine
        .sqlite
        .writer
        .send(Step {
            name: "panics",
            then: Then::Panic,
        })
        .unwrap();
    let twice = engine.sqlite.writer.send(step("first")).unwrap();
    let good = engine.sqlite.writer.send(step("good")).unwrap();
    let_out.send(()).unwrap();
    first.blocking_recv().unwrap().unwrap();
    assert!(matches!(
        fails.blocking_recv().unwrap(),
        Err(Error::Overloaded)
    ));
    assert!(matches!(
        panics.blocking_recv().unwrap(),
        Err(Error::Internal(_))
    ));
    assert!(
        matches!(twice.blocking_recv().unwrap(), Err(Error::Internal(_))),
        "a broken constraint"
    );
    good.blocking_recv().unwrap().unwrap();
    assert_eq!((engine.settings(), engine.commits()), (2, 1));
}

#[test]
fn a_lost_transaction_fails_everybody_in_it_and_the_writer_goes_on() {
    let engine = engine();
    let (first, is_in, let_out) = gate("first");
    let first = engine.sqlite.writer.send(first).unwrap();
    is_in.recv().unwrap();
    let ends = engine
        .sqlite
        .writer
        .send(Step {
            name: "ends",
            then: Then::EndTransaction,
        })
        .unwrap();
    let_out.send(()).unwrap();
    assert!(
        matches!(first.blocking_recv().unwrap(), Err(Error::Full(_))),
        "it did succeed, and was undone"
    );
    assert!(matches!(ends.blocking_recv().unwrap(), Err(Error::Full(_))));
    assert_eq!(engine.settings(), 0);
    engine
        .sqlite
        .writer
        .send(step("after"))
        .unwrap()
        .blocking_recv()
        .unwrap()
        .unwrap();
    assert_eq!(engine.settings(), 1);
}

#[test]
fn the_queue_is_bounded() {
    let engine = engine_with(|options| options.queue_length = 2);
    let (first, is_in, let_out) = gate("first");
    let first = engine.sqlite.writer.send(first).unwrap();
    is_in.recv().unwrap();
    let second = engine.sqlite.writer.send(step("second")).unwrap();
    let third = engine.sqlite.writer.send(step("third")).unwrap();
    assert!(matches!(
        engine.sqlite.writer.send(step("fourth")),
        Err(Error::Overloaded)
    ));
    let_out.send(()).unwrap();
    for answer in [first, second, third] {
        answer.blocking_recv().unwrap().unwrap();
    }
    engine
        .sqlite
        .writer
        .send(step("fifth"))
        .unwrap()
        .blocking_recv()
        .unwrap()
        .unwrap();
}

#[test]
fn the_log_stays_bounded() {
    let engine = engine();
    let value = "x".repeat(1 << 20);
    for number in 0..200 {
        let change = Large {
            name: number.to_string(),
            value: value.clone(),
        };
        engine
            .sqlite
            .writer
            .send(change)
            .unwrap()
            .blocking_recv()
            .unwrap()
            .unwrap();
    }
    let log = engine
        .file
        .with_extension("db-wal")
        .metadata()
        .unwrap()
        .len();
    assert!(
        log < 64 << 20,
        "the log has {log} bytes after 200 MiB of changes"
    );
}

struct Large {
    name: String,
    value: String,
}

impl Operation for Large {
    type Output = ();

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<()> {
        let sql = "INSERT INTO settings (name, value) VALUES (?1, ?2)";
        tx.execute(sql, params![self.name.as_str(), self.value.as_str()])
            .await
            .map(drop)
    }
}

impl Write for Large {
    const DURABILITY: Durability = Durability::Relaxed;
}

/// What refers to a deleted row is found by an index, however large its repository is.
#[test]
fn deletions_read_no_repository_as_a_whole() {
    let engine = engine_with(|_| {});
    let connection = connection::open(&engine.file, Mode::Write).unwrap();
    for (sql, wanted) in [
        (
            "DELETE FROM manifests WHERE repo_id = ?1 AND id = ?2",
            "tags_manifest (repo_id=? AND manifest_id=?)",
        ),
        (
            "DELETE FROM repo_blobs WHERE repo_id = ?1 AND digest = ?2",
            "manifest_blobs_digest (repo_id=? AND digest=?)",
        ),
        (
            "DELETE FROM blobs WHERE digest = ?1",
            "repo_blobs_digest (digest=?)",
        ),
    ] {
        let mut statement = connection
            .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
            .unwrap();
        let parameters = vec![rusqlite::types::Null; statement.parameter_count()];
        let plan: Vec<String> = statement
            .query_map(rusqlite::params_from_iter(parameters), |row| row.get(3))
            .unwrap()
            .collect::<rusqlite::Result<_>>()
            .unwrap();
        let plan = plan.join("\n");
        assert!(plan.contains(wanted), "{sql} without {wanted}:\n{plan}");
        assert!(
            !plan.contains("SCAN") && !plan.contains("(repo_id=?)"),
            "{sql}:\n{plan}"
        );
    }
}

/// Every statement a request runs to read: it searches an index and sorts nothing.
#[test]
fn reads_cost_the_same_however_much_there_is() {
    let engine = engine();
    let connection = connection::open(&engine.file, Mode::Read).unwrap();
    for &(name, sql, wanted) in READS {
        let mut statement = connection
            .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
            .unwrap();
        let parameters = vec![rusqlite::types::Null; statement.parameter_count()];
        let plan: Vec<String> = statement
            .query_map(rusqlite::params_from_iter(parameters), |row| row.get(3))
            .unwrap()
            .collect::<rusqlite::Result<_>>()
            .unwrap();
        let plan = plan.join("\n");
        assert!(
            !plan.contains("SCAN") && !plan.contains("TEMP B-TREE"),
            "{name}:\n{plan}"
        );
        assert!(plan.contains(wanted), "{name} without {wanted}:\n{plan}");
        // Bound again, it is not compiled again.
        let mut statement = connection.prepare(sql).unwrap();
        for _ in 0..3 {
            for index in 1..=statement.parameter_count() {
                statement.raw_bind_parameter(index, 1).unwrap();
            }
            while statement.raw_query().next().unwrap().is_some() {}
        }
        assert_eq!(
            statement.get_status(StatementStatus::RePrepare),
            0,
            "{name}"
        );
    }
}
