//! What the engine itself promises, asked of a real server.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use holdfast_model::Timestamp;
use holdfast_tests::{Postgres as Server, PostgresDatabase};
use tokio::sync::oneshot;

use super::Postgres;
use super::sql::{Locks, translated};
use crate::operation::{Durability, Operation, Transaction, Write, changed_meanwhile, params};
use crate::statements::READS;
use crate::{Error, Location, Options, PostgresOptions, Result, migrations};

const NOW: Timestamp = Timestamp::from_micros(1);

fn clock() -> Timestamp {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap())
}

async fn open(
    database: &PostgresDatabase,
    configure: impl FnOnce(&mut PostgresOptions, &mut usize),
) -> Result<Postgres> {
    let mut postgres = PostgresOptions::new(database.connection(), clock);
    postgres.connect_timeout = Duration::from_secs(30);
    let mut options = Options::new(Location::Memory, 1);
    configure(&mut postgres, &mut options.queue_length);
    Postgres::open(&options, &postgres, NOW).await
}

async fn engine() -> (PostgresDatabase, Postgres) {
    let database = Server::shared().database();
    let engine = open(&database, |_, _| {}).await.unwrap();
    (database, engine)
}

fn settings(database: &PostgresDatabase) -> String {
    database.query("SELECT string_agg(name, ',' ORDER BY name) FROM settings")
}

/// Stores a setting, which nobody may have stored, then does as told.
struct Step {
    name: &'static str,
    then: Then,
    runs: AtomicU32,
}

enum Then {
    Succeed,
    Fail,
    /// Says that it is inside, and waits to be let out.
    Wait(Mutex<Option<(oneshot::Sender<()>, oneshot::Receiver<()>)>>),
    /// Finds something changed, so many times.
    Meet(u32),
    /// Ends its own connection the first time, as an administrator may.
    LoseConnection,
}

fn step(name: &'static str, then: Then) -> Step {
    Step {
        name,
        then,
        runs: AtomicU32::new(0),
    }
}

fn gate(name: &'static str) -> (Step, oneshot::Receiver<()>, oneshot::Sender<()>) {
    let (inside, is_inside) = oneshot::channel();
    let (let_out, out) = oneshot::channel();
    let then = Then::Wait(Mutex::new(Some((inside, out))));
    (step(name, then), is_inside, let_out)
}

impl Operation for Step {
    type Output = u32;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<u32> {
        let run = self.runs.fetch_add(1, Ordering::Relaxed) + 1;
        let insert = "INSERT INTO settings (name, value) VALUES (?1, '')";
        tx.execute(insert, params![self.name]).await?;
        match &self.then {
            Then::Succeed => {}
            Then::Fail => return Err(Error::internal("as told")),
            Then::Wait(ends) => {
                let ends = ends.lock().unwrap().take();
                if let Some((inside, out)) = ends {
                    inside.send(()).unwrap();
                    out.await.unwrap();
                }
            }
            Then::Meet(times) if run <= *times => return Err(changed_meanwhile()),
            Then::Meet(_) => {}
            Then::LoseConnection => {
                if run == 1 {
                    let end = "SELECT CAST(pg_terminate_backend(pg_backend_pid()) AS TEXT)";
                    tx.query(end, params![]).await?;
                }
            }
        }
        Ok(run)
    }
}

impl Write for Step {
    const DURABILITY: Durability = Durability::Durable;
}

#[tokio::test]
async fn a_failing_change_leaves_nothing() {
    let (database, engine) = engine().await;
    engine.write(step("a", Then::Succeed)).await.unwrap();
    let failed = engine.write(step("b", Then::Fail)).await;
    assert!(matches!(failed, Err(Error::Internal(_))), "{failed:?}");
    // The same connection serves again.
    engine.write(step("c", Then::Succeed)).await.unwrap();
    assert_eq!(settings(&database), "a,c");
}

#[tokio::test]
async fn a_change_that_meets_another_runs_anew_and_not_for_ever() {
    let (database, engine) = engine().await;
    assert_eq!(engine.write(step("a", Then::Meet(2))).await.unwrap(), 3);
    let given_up = engine.write(step("b", Then::Meet(u32::MAX))).await;
    assert!(matches!(given_up, Err(Error::Busy(_))), "{given_up:?}");
    // A key that stays taken breaks a rule.
    let taken = engine.write(step("a", Then::Succeed)).await;
    assert!(matches!(taken, Err(Error::Internal(_))), "{taken:?}");
    assert_eq!(settings(&database), "a");
}

#[tokio::test]
async fn a_connection_lost_before_the_commit_is_made_anew() {
    let (database, engine) = engine().await;
    let done = engine.write(step("a", Then::LoseConnection)).await;
    assert_eq!(done.unwrap(), 2);
    assert_eq!(settings(&database), "a");
}

#[tokio::test]
async fn a_change_that_is_given_up_leaves_nothing_and_no_open_transaction() {
    let (database, engine) = engine().await;
    let (waiting, is_inside, _let_out) = gate("a");
    let task = tokio::spawn({
        let engine = engine.clone();
        async move { engine.write(waiting).await }
    });
    is_inside.await.unwrap();
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    // The key is free once the server has undone it; until then this waits for the lock.
    engine.write(step("a", Then::Succeed)).await.unwrap();
    assert_eq!(settings(&database), "a");
}

#[tokio::test]
async fn waiting_for_a_connection_and_for_a_turn_has_an_end() {
    let database = Server::shared().database();
    let engine = open(&database, |postgres, queue| {
        postgres.connections_max = 1;
        postgres.wait_timeout = Duration::from_millis(20);
        *queue = 2;
    });
    let engine = engine.await.unwrap();
    let (waiting, is_inside, let_out) = gate("a");
    let first = tokio::spawn({
        let engine = engine.clone();
        async move { engine.write(waiting).await }
    });
    is_inside.await.unwrap();
    let second = engine.write(step("b", Then::Succeed));
    let third = engine.write(step("c", Then::Succeed));
    let (second, third) = tokio::join!(second, third);
    assert!(matches!(second, Err(Error::Unavailable(_))), "{second:?}");
    assert!(matches!(third, Err(Error::Overloaded)), "{third:?}");
    let_out.send(()).unwrap();
    first.await.unwrap().unwrap();
    assert_eq!(settings(&database), "a");
}

#[tokio::test]
async fn closing_waits_for_changes_and_refuses_more() {
    let (database, engine) = engine().await;
    let (waiting, is_inside, let_out) = gate("a");
    engine.write_soon(waiting).unwrap();
    is_inside.await.unwrap();
    let closing = tokio::spawn({
        let engine = engine.clone();
        async move { engine.close().await }
    });
    tokio::task::yield_now().await;
    let_out.send(()).unwrap();
    closing.await.unwrap().unwrap();
    assert_eq!(settings(&database), "a");
    let refused = engine.write(step("b", Then::Succeed)).await;
    assert!(matches!(refused, Err(Error::Closed)), "{refused:?}");
}

#[tokio::test]
async fn a_server_that_goes_is_unavailable_and_serves_again_when_it_is_back() {
    let mut server = Server::start();
    let database = server.database();
    let engine = open(&database, |_, _| {}).await.unwrap();
    engine.write(step("a", Then::Succeed)).await.unwrap();
    server.halt();
    let gone = engine.write(step("b", Then::Succeed)).await;
    assert!(matches!(gone, Err(Error::Unavailable(_))), "{gone:?}");
    server.resume();
    engine.write(step("c", Then::Succeed)).await.unwrap();
    assert_eq!(settings(&database), "a,c");
}

#[tokio::test]
async fn a_server_that_takes_no_writes_is_unavailable() {
    let (database, engine) = engine().await;
    database.execute(&format!(
        "ALTER DATABASE {} SET default_transaction_read_only = on",
        database.name()
    ));
    let refused = open(&database, |_, _| {}).await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    // A connection from before goes on.
    engine.write(step("a", Then::Succeed)).await.unwrap();
}

#[tokio::test]
async fn a_clock_that_is_off_is_refused() {
    let database = Server::shared().database();
    let off = open(&database, |postgres, _| {
        postgres.clock = || Timestamp::from_micros(clock().as_micros() - 60_000_000);
    });
    match off.await {
        Err(Error::Unavailable(cause)) => assert!(cause.to_string().contains("clock"), "{cause}"),
        other => panic!("{other:?}"),
    }
}

/// How durable its commit is to be.
struct Commit;

impl Operation for Commit {
    type Output = String;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<String> {
        let setting = "SELECT current_setting('synchronous_commit') || ' ' ||
                       current_setting('statement_timeout') || ' ' || current_setting('transaction_isolation')";
        tx.first(setting, params![]).await?.unwrap().text()
    }
}

impl Write for Commit {
    const DURABILITY: Durability = Durability::Relaxed;
}

#[tokio::test]
async fn a_relaxed_change_does_not_wait_for_the_disk_and_each_is_bounded() {
    let database = Server::shared().database();
    for prepared in [true, false] {
        let engine = open(&database, |postgres, _| {
            postgres.prepared_statements = prepared;
        });
        let engine = engine.await.unwrap();
        assert_eq!(
            engine.write(Commit).await.unwrap(),
            "off 30s read committed"
        );
        let read = engine.read(&Commit).await.unwrap();
        // Through a pooler a session's settings would be somebody else's.
        let bound = if prepared { "30s" } else { "0" };
        assert_eq!(read, format!("on {bound} read committed"));
    }
}

#[tokio::test]
async fn nodes_that_start_at_once_make_one_schema() {
    let database = Server::shared().database();
    let nodes = (0..4).map(|_| {
        let database = database.clone();
        tokio::spawn(async move { open(&database, |_, _| {}).await.map(drop) })
    });
    for node in nodes.collect::<Vec<_>>() {
        node.await.unwrap().unwrap();
    }
    let count = database.query("SELECT count(*) FROM schema_versions");
    assert_eq!(count, migrations::MIGRATIONS.len().to_string());
}

#[tokio::test]
async fn a_newer_schema_is_refused_unless_it_is_made_for_this_release_too() {
    let (database, _engine) = engine().await;
    let known = migrations::MIGRATIONS.len();
    let newer = known + 1;
    database.execute(&format!(
        "INSERT INTO schema_versions VALUES ({newer}, 'later', '', 0, {newer})"
    ));
    let refused = open(&database, |_, _| {}).await;
    assert!(
        matches!(refused, Err(Error::NewerSchema { .. })),
        "{refused:?}"
    );
    database.execute(&format!(
        "UPDATE schema_versions SET compatible_with = {known} WHERE version = {newer}"
    ));
    open(&database, |_, _| {}).await.unwrap();
    database.execute("UPDATE schema_versions SET checksum = '' WHERE version = 1");
    let refused = open(&database, |_, _| {}).await;
    assert!(
        matches!(refused, Err(Error::ChangedSchema { version: 1 })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn reads_are_prepared_and_use_an_index() {
    let (database, _engine) = engine().await;
    let mut script =
        String::from("SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan;");
    for (number, (_, sql, _)) in READS.iter().enumerate() {
        let sql = translated(sql, Locks::Skipping);
        let parameters = (1..10)
            .take_while(|n| sql.contains(&format!("${n}")))
            .count();
        let nothing = vec!["NULL"; parameters].join(", ");
        let nothing = match parameters {
            0 => String::new(),
            _ => format!("({nothing})"),
        };
        script.push_str(&format!(
            "PREPARE s{number} AS {sql}; SELECT '=== {number}'; EXPLAIN (COSTS off) EXECUTE s{number}{nothing};"
        ));
    }
    let plans = database.query(&script);
    let plans: Vec<&str> = plans.split("=== ").skip(1).collect();
    assert_eq!(plans.len(), READS.len());
    for (plan, (name, _, _)) in plans.iter().zip(READS) {
        assert!(!plan.contains("Seq Scan"), "{name}:\n{plan}");
    }
}
