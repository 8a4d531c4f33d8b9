//! What a change or a question is, whatever engine runs it.
//!
//! An [`Operation`] is a value with the parameters and a `run` over a [`Transaction`]. The SQL is
//! written once: placeholders are `?1`, `?2`, … (`$1`, `$2`, … after one replacement, since `?` occurs
//! nowhere else), and row locks stand in comments, `/*FOR UPDATE*/` and `/*FOR SHARE*/`, which SQLite
//! skips, its transactions being serial anyway, and an engine with row locks uncomments. In a change it
//! uncomments all of them, in a question only those that end in `SKIP LOCKED`: what another node is at is not due.
//! What no row stands for yet is locked by its name, [`Transaction::lock`].
//!
//! Side by side, transactions read what is committed when each *statement* begins. So whatever is decided by what
//! was read is read under a lock, in a statement of its own after the lock. An operation that meets a unique or
//! foreign key that it took for kept, or that finds a row changed under it ([`changed_meanwhile`]), is undone as a
//! whole and run anew; locks go with it, so none is ever upgraded.
//! Futures let an engine behind a socket wait; on SQLite they are ready at once.

use std::future::Future;

use holdfast_model::{Digest, RepositoryName, Timestamp};

use crate::{Error, Result};

/// A question or a change. It takes itself by reference, so that an engine may run it once more after
/// a serialization failure.
pub(crate) trait Operation: Send + Sync {
    /// What it answers.
    type Output: Send;

    /// Runs inside a transaction that commits when this is `Ok` and leaves nothing behind otherwise.
    fn run<T: Transaction>(&self, tx: &mut T) -> impl Future<Output = Result<Self::Output>> + Send;
}

/// A change.
pub(crate) trait Write: Operation<Output: 'static> + 'static {
    /// What its answer promises.
    const DURABILITY: Durability;

    /// Whether its effects are taken back, so that only its answer remains.
    const UNDONE: bool = false;

    /// Of which repositories cached answers may become wrong. A change that only adds (links a blob,
    /// stores an untagged manifest) makes none wrong: absence is never cached.
    fn outdates(&self) -> Outdated<'_> {
        Outdated::None
    }
}

/// The repositories whose cached answers a change may make wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outdated<'a> {
    /// None.
    None,
    /// This one.
    One(&'a RepositoryName),
    /// Any. Rare: it empties the cache.
    All,
}

/// What the answer to a change promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Durability {
    /// It survives the end of this process, however sudden.
    Relaxed,
    /// It survives the loss of power.
    Durable,
}

/// An open transaction, or for questions a single view of the database per statement.
pub(crate) trait Transaction: Send {
    /// Runs a statement and returns its rows.
    fn query(
        &mut self,
        sql: &'static str,
        params: &[Param<'_>],
    ) -> impl Future<Output = Result<Vec<Row>>> + Send;

    /// Runs a statement and returns how many rows it changed.
    fn execute(
        &mut self,
        sql: &'static str,
        params: &[Param<'_>],
    ) -> impl Future<Output = Result<u64>> + Send;

    /// Makes a row id.
    fn new_id(&mut self, now: Timestamp) -> i64;

    /// Keeps other changes that lock the same from going on until this one is over. An engine that makes one
    /// change after the other has nothing to do.
    fn lock(&mut self, what: Lock<'_>) {
        let _ = what;
    }

    /// Bytes as this engine's SQL writes them.
    fn bytes_literal(&self, bytes: &[u8]) -> String {
        format!("x'{}'", holdfast_model::digest::hex(bytes))
    }

    /// Runs a statement and returns its first row.
    fn first(
        &mut self,
        sql: &'static str,
        params: &[Param<'_>],
    ) -> impl Future<Output = Result<Option<Row>>> + Send {
        async move { Ok(self.query(sql, params).await?.into_iter().next()) }
    }
}

/// Something that is locked by its name, there being no row for it, or none yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lock<'a> {
    /// A storage key: whether it goes live or into the outbox (I3).
    StorageKey(&'a str),
    /// A repository's link to a blob, where it is missing: whether it comes, or a manifest is stored without it.
    MissingLink(i64, Digest),
    /// A tag: what it points at, and the newest line of its history.
    Tag(i64, &'a str),
    /// Whether a repository still has a manifest, for those who delete some.
    Population(i64),
}

/// Where transactions run side by side, this one starts over.
pub(crate) fn changed_meanwhile() -> Error {
    Error::Busy(std::sync::Arc::new(crate::error::Unexpected(
        "what was to be changed was changed meanwhile".to_owned(),
    )))
}

/// A value on its way into a statement.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Param<'a> {
    Null,
    Integer(i64),
    Text(&'a str),
    Bytes(&'a [u8]),
    Digest(Digest),
}

/// The parameters of a statement.
macro_rules! params {
    ($($value:expr),* $(,)?) => { &[$($crate::operation::Param::from($value)),*] };
}
pub(crate) use params;

impl From<i64> for Param<'_> {
    fn from(value: i64) -> Self {
        Param::Integer(value)
    }
}

/// Sizes and limits beyond what a database counts to are clamped: no stored thing is that large.
impl From<u64> for Param<'_> {
    fn from(value: u64) -> Self {
        Param::Integer(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<usize> for Param<'_> {
    fn from(value: usize) -> Self {
        Param::from(value as u64)
    }
}

impl From<Timestamp> for Param<'_> {
    fn from(value: Timestamp) -> Self {
        Param::Integer(value.as_micros())
    }
}

impl<'a> From<&'a str> for Param<'a> {
    fn from(value: &'a str) -> Self {
        Param::Text(value)
    }
}

impl<'a> From<&'a [u8]> for Param<'a> {
    fn from(value: &'a [u8]) -> Self {
        Param::Bytes(value)
    }
}

impl From<Digest> for Param<'_> {
    fn from(value: Digest) -> Self {
        Param::Digest(value)
    }
}

impl<'a, T: Into<Param<'a>>> From<Option<T>> for Param<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Param::Null, Into::into)
    }
}

/// A value from the database.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Integer(i64),
    Text(String),
    Bytes(Vec<u8>),
}

/// A row, read column by column from the left.
#[derive(Debug)]
pub(crate) struct Row(std::vec::IntoIter<Value>);

impl Row {
    pub(crate) fn new(values: Vec<Value>) -> Row {
        Row(values.into_iter())
    }

    fn next(&mut self) -> Result<Value> {
        self.0
            .next()
            .ok_or_else(|| Error::internal("a statement returns fewer columns than are read"))
    }

    pub(crate) fn integer(&mut self) -> Result<i64> {
        self.maybe_integer()?
            .ok_or_else(|| unexpected("an integer", &Value::Null))
    }

    pub(crate) fn maybe_integer(&mut self) -> Result<Option<i64>> {
        match self.next()? {
            Value::Null => Ok(None),
            Value::Integer(value) => Ok(Some(value)),
            other => Err(unexpected("an integer", &other)),
        }
    }

    /// A size or a count.
    pub(crate) fn size(&mut self) -> Result<u64> {
        let value = self.integer()?;
        u64::try_from(value).map_err(|_| unexpected("a size", &Value::Integer(value)))
    }

    pub(crate) fn time(&mut self) -> Result<Timestamp> {
        Ok(Timestamp::from_micros(self.integer()?))
    }

    pub(crate) fn text(&mut self) -> Result<String> {
        self.maybe_text()?
            .ok_or_else(|| unexpected("a text", &Value::Null))
    }

    pub(crate) fn maybe_text(&mut self) -> Result<Option<String>> {
        match self.next()? {
            Value::Null => Ok(None),
            Value::Text(value) => Ok(Some(value)),
            other => Err(unexpected("a text", &other)),
        }
    }

    pub(crate) fn bytes(&mut self) -> Result<Vec<u8>> {
        self.maybe_bytes()?
            .ok_or_else(|| unexpected("bytes", &Value::Null))
    }

    pub(crate) fn maybe_bytes(&mut self) -> Result<Option<Vec<u8>>> {
        match self.next()? {
            Value::Null => Ok(None),
            Value::Bytes(value) => Ok(Some(value)),
            other => Err(unexpected("bytes", &other)),
        }
    }

    pub(crate) fn digest(&mut self) -> Result<Digest> {
        Digest::from_bytes(&self.bytes()?)
            .map_err(|error| Error::Corrupt(std::sync::Arc::new(error)))
    }

    pub(crate) fn maybe_digest(&mut self) -> Result<Option<Digest>> {
        let bytes = self.maybe_bytes()?;
        let digest = bytes.map(|bytes| Digest::from_bytes(&bytes)).transpose();
        digest.map_err(|error| Error::Corrupt(std::sync::Arc::new(error)))
    }

    /// A text that was validated before it was stored.
    pub(crate) fn parsed<T>(&mut self) -> Result<T>
    where
        T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>,
    {
        self.text()?
            .parse()
            .map_err(|error| Error::Corrupt(std::sync::Arc::new(error)))
    }
}

fn unexpected(wanted: &str, found: &Value) -> Error {
    Error::corrupt(match found {
        Value::Null => format!("a column holds nothing instead of {wanted}"),
        Value::Integer(value) => format!("a column holds the number {value} instead of {wanted}"),
        Value::Text(_) => format!("a column holds text instead of {wanted}"),
        Value::Bytes(_) => format!("a column holds bytes instead of {wanted}"),
    })
}
