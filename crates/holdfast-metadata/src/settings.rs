//! Facts about this installation: what it made up itself once, such as a generated secret, and how its switches
//! were left.

use crate::operation::{Durability, Operation, Transaction, Write, params};
use crate::{Error, Metadata, Result};

pub(crate) const FIND_SETTING: &str = "SELECT value FROM settings WHERE name = ?1";

impl Metadata {
    /// The value under this name, which becomes `value` if there was none.
    pub async fn get_or_insert_setting(&self, name: &str, value: &str) -> Result<String> {
        self.write(GetOrInsert {
            name: name.to_owned(),
            value: value.to_owned(),
        })
        .await
    }

    /// The value under this name, if there is one.
    pub async fn setting(&self, name: &str) -> Result<Option<String>> {
        self.read(Find { name }).await
    }

    /// Keeps a value under this name, in place of the one before.
    pub async fn put_setting(&self, name: &str, value: &str) -> Result<()> {
        self.write(Put {
            name: name.to_owned(),
            value: value.to_owned(),
        })
        .await
    }
}

struct Find<'a> {
    name: &'a str,
}

impl Operation for Find<'_> {
    type Output = Option<String>;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Option<String>> {
        match tx.first(FIND_SETTING, params![self.name]).await? {
            Some(mut row) => row.text().map(Some),
            None => Ok(None),
        }
    }
}

struct Put {
    name: String,
    value: String,
}

impl Operation for Put {
    type Output = ();

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<()> {
        tx.execute(
            "INSERT INTO settings (name, value) VALUES (?1, ?2)
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            params![self.name.as_str(), self.value.as_str()],
        )
        .await?;
        Ok(())
    }
}

impl Write for Put {
    const DURABILITY: Durability = Durability::Durable;
}

struct GetOrInsert {
    name: String,
    value: String,
}

impl Operation for GetOrInsert {
    type Output = String;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<String> {
        tx.execute(
            "INSERT INTO settings (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING",
            params![self.name.as_str(), self.value.as_str()],
        )
        .await?;
        let mut row = tx.first(FIND_SETTING, params![self.name.as_str()]).await?;
        row.as_mut()
            .ok_or_else(|| Error::internal("a setting is gone right after it was stored"))?
            .text()
    }
}

impl Write for GetOrInsert {
    const DURABILITY: Durability = Durability::Durable;
}
