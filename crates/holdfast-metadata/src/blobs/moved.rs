//! A blob whose bytes moved to another key.

use holdfast_model::{Digest, Timestamp};

use super::state::LIVE;
use crate::operation::{Durability, Operation, Outdated, Transaction, Write, params};
use crate::{Metadata, Result, gc};

impl Metadata {
    /// Notes that the bytes of a live blob are under another key as well, where they are to stay; whether it still
    /// had the old one. That goes to the outbox. The new one is fresh, and its bytes are durable.
    pub async fn move_blob(
        &self,
        digest: &Digest,
        old_key: &str,
        new_key: &str,
        now: Timestamp,
    ) -> Result<bool> {
        self.write(Move {
            digest: *digest,
            old_key: old_key.to_owned(),
            new_key: new_key.to_owned(),
            now,
        })
        .await
    }
}

struct Move {
    digest: Digest,
    old_key: String,
    new_key: String,
    now: Timestamp,
}

impl Operation for Move {
    type Output = bool;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<bool> {
        let moved = tx
            .execute(
                "UPDATE blobs SET storage_key = ?3 WHERE digest = ?1 AND storage_key = ?2 AND state = ?4",
                params![
                    self.digest,
                    self.old_key.as_str(),
                    self.new_key.as_str(),
                    LIVE
                ],
            )
            .await?;
        if moved > 0 {
            gc::discard_key(tx, &self.old_key, None, self.now).await?;
        }
        Ok(moved > 0)
    }
}

impl Write for Move {
    const DURABILITY: Durability = Durability::Durable;

    // Any repository may have this blob.
    fn outdates(&self) -> Outdated<'_> {
        Outdated::All
    }
}
