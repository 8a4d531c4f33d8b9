//! The delete outbox: storage keys whose bytes are to go and that never become live again.

use crate::operation::{Durability, Operation, Transaction, Write, params};
use crate::{Metadata, Result};

impl Metadata {
    /// Notes that the bytes under a key of the outbox are gone, or were never there.
    pub async fn object_deleted(&self, storage_key: &str) -> Result<()> {
        self.write(Deleted {
            storage_key: storage_key.to_owned(),
        })
        .await
    }
}

struct Deleted {
    storage_key: String,
}

impl Operation for Deleted {
    type Output = ();

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<()> {
        tx.execute(
            "DELETE FROM gc_object_outbox WHERE storage_key = ?1",
            params![self.storage_key.as_str()],
        )
        .await?;
        Ok(())
    }
}

impl Write for Deleted {
    // Deleting what is gone already does no harm.
    const DURABILITY: Durability = Durability::Relaxed;
}
