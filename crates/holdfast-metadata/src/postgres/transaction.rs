//! A [`Transaction`] over a connection.
//!
//! What needs no answer of its own (`BEGIN`, locks by name) is sent together with the next statement, so that a
//! change costs one round trip for each statement and one for its commit.

use std::pin::pin;
use std::task::Poll;

use deadpool_postgres::Client;
use holdfast_model::Timestamp;
use sha2::{Digest as _, Sha256};
use tokio_postgres::types::{ToSql, Type};

use super::connection::{Lease, Lost, Server, answer};
use super::error::{is_lost, met_another};
use super::sql::{self, Locks, translated, type_of};
use crate::ids::Ids;
use crate::operation::{Durability, Lock, Param, Row, Transaction};
use crate::{Error, Result};

/// What a lock by name is told from other users' of the same database by: "holdfast", in part.
const LOCK_CLASS: &[u8] = b"holdfast lock\0";

pub(super) struct PostgresTransaction<'a> {
    server: &'a Server,
    lease: &'a mut Lease,
    ids: &'a Ids,
    locks: Locks,
    /// What goes out with the next statement.
    prelude: String,
    /// A transaction was begun.
    begun: bool,
    /// Why a statement failed. Nothing can be committed after that.
    fault: Option<Fault>,
}

/// What to think of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Another change was in the way.
    Met,
    /// The connection is gone, and the server may be there.
    Broken,
    /// Nobody answered, and nobody else has time to wait as long again.
    Silent,
    /// Anything else.
    Other,
}

impl Fault {
    /// Whether nothing more can come over the connection.
    pub(super) fn ends_connection(self) -> bool {
        matches!(self, Fault::Broken | Fault::Silent)
    }
}

impl<'a> PostgresTransaction<'a> {
    /// For questions: each statement sees what is committed when it begins.
    pub(super) fn questions(server: &'a Server, lease: &'a mut Lease, ids: &'a Ids) -> Self {
        PostgresTransaction {
            server,
            lease,
            ids,
            locks: Locks::Skipping,
            prelude: String::new(),
            begun: false,
            fault: None,
        }
    }

    /// For a change.
    pub(super) fn change(
        server: &'a Server,
        lease: &'a mut Lease,
        ids: &'a Ids,
        durability: Durability,
    ) -> Self {
        let begin = &server.begin;
        PostgresTransaction {
            locks: Locks::All,
            prelude: match durability {
                Durability::Durable => begin.durable.clone(),
                Durability::Relaxed => begin.relaxed.clone(),
            },
            ..Self::questions(server, lease, ids)
        }
    }

    pub(super) fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// Ends the transaction.
    pub(super) async fn end(&mut self, how: &'static str) -> Result<(), (Error, Fault)> {
        if !self.begun {
            return Ok(());
        }
        let ended = answer(self.server.patience, self.lease.client().batch_execute(how));
        match ended.await {
            Ok(()) => {
                self.lease.clean();
                Ok(())
            }
            Err(lost) => {
                let fault = fault(&lost);
                Err((lost.into_error(), fault))
            }
        }
    }

    async fn ask(&mut self, sql: &str, params: &[Param<'_>], wanted: Wanted) -> Result<Answer> {
        let prelude = self.prelude();
        let sql = translated(sql, self.locks);
        let (client, prepares) = (self.lease.client(), self.server.prepares);
        let asked = async {
            let statement = statement(client, prepares, &sql, params, wanted);
            if prelude.is_empty() {
                return statement.await;
            }
            let mut before = pin!(client.batch_execute(&prelude));
            // Polled once it is sent. The answers come in the order of the questions.
            let sent = std::future::poll_fn(|context| Poll::Ready(before.as_mut().poll(context)));
            let sent = sent.await;
            let answer = statement.await;
            match sent {
                Poll::Ready(done) => done?,
                Poll::Pending => before.await?,
            }
            answer
        };
        let answered = answer(self.server.patience, asked).await;
        answered.map_err(|lost| {
            let fault = fault(&lost);
            self.fault = Some(fault);
            if fault.ends_connection() {
                self.lease.soil();
            }
            lost.into_error()
        })
    }

    /// What is to be sent first. From here on a transaction is open, if one is to be.
    fn prelude(&mut self) -> String {
        if self.locks == Locks::All && !self.begun {
            self.begun = true;
            self.lease.soil();
        }
        std::mem::take(&mut self.prelude)
    }
}

/// What is wanted of a statement.
#[derive(Clone, Copy)]
enum Wanted {
    Rows,
    Count,
}

/// What a statement answers.
#[derive(Default)]
struct Answer {
    rows: Vec<tokio_postgres::Row>,
    count: u64,
}

async fn statement(
    client: &Client,
    prepares: bool,
    sql: &str,
    params: &[Param<'_>],
    wanted: Wanted,
) -> Result<Answer, tokio_postgres::Error> {
    let mut answer = Answer::default();
    if prepares {
        let params: Vec<&(dyn ToSql + Sync)> = params.iter().map(|param| param as _).collect();
        let prepared = client.prepare_cached(sql).await?;
        match wanted {
            Wanted::Rows => answer.rows = client.query(&prepared, &params).await?,
            Wanted::Count => answer.count = client.execute(&prepared, &params).await?,
        }
    } else {
        let params: Vec<(&(dyn ToSql + Sync), Type)> = params
            .iter()
            .map(|param| (param as _, type_of(param)))
            .collect();
        match wanted {
            Wanted::Rows => answer.rows = client.query_typed(sql, &params).await?,
            Wanted::Count => answer.count = client.execute_typed(sql, &params).await?,
        }
    }
    Ok(answer)
}

fn fault(lost: &Lost) -> Fault {
    match lost {
        Lost::Refused(error) if met_another(error) => Fault::Met,
        // The server says why it ends the connection, or nothing comes any more.
        Lost::Refused(error) => match error.code() {
            Some(code) if !code.code().starts_with("57P") && !code.code().starts_with("25") => {
                Fault::Other
            }
            Some(_) => Fault::Broken,
            None if is_lost(error) => Fault::Broken,
            None => Fault::Other,
        },
        Lost::Silent => Fault::Silent,
    }
}

impl Transaction for PostgresTransaction<'_> {
    async fn query(&mut self, sql: &'static str, params: &[Param<'_>]) -> Result<Vec<Row>> {
        let answer = self.ask(sql, params, Wanted::Rows).await?;
        answer.rows.iter().map(sql::row).collect()
    }

    async fn execute(&mut self, sql: &'static str, params: &[Param<'_>]) -> Result<u64> {
        Ok(self.ask(sql, params, Wanted::Count).await?.count)
    }

    fn new_id(&mut self, now: Timestamp) -> i64 {
        self.ids.make(now)
    }

    fn lock(&mut self, what: Lock<'_>) {
        let lock = format!("SELECT pg_advisory_xact_lock({});", lock_number(what));
        self.prelude.push_str(&lock);
    }

    fn bytes_literal(&self, bytes: &[u8]) -> String {
        format!("'\\x{}'", holdfast_model::digest::hex(bytes))
    }
}

/// The number that stands for a name. Two names with one number only wait for each other.
fn lock_number(what: Lock<'_>) -> i64 {
    let mut hash = Sha256::new();
    hash.update(LOCK_CLASS);
    match what {
        Lock::StorageKey(key) => {
            hash.update(b"k");
            hash.update(key);
        }
        Lock::MissingLink(repo_id, digest) => {
            hash.update(b"l");
            hash.update(repo_id.to_be_bytes());
            hash.update(digest.to_bytes());
        }
        Lock::Tag(repo_id, tag) => {
            hash.update(b"t");
            hash.update(repo_id.to_be_bytes());
            hash.update(tag);
        }
        Lock::Population(repo_id) => {
            hash.update(b"p");
            hash.update(repo_id.to_be_bytes());
        }
    }
    let hash = hash.finalize();
    let first = hash.first_chunk::<8>().expect("a hash is longer");
    i64::from_be_bytes(*first)
}
