//! Facts about this installation that it made up itself once, such as a generated secret.

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
