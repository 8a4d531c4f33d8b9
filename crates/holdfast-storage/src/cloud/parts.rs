//! A multipart upload under way: some parts stored, some on their way, in any order.

use std::sync::Arc;

use holdfast_model::Hasher;
use object_store::PutPayload;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;

use super::Shared;
use super::state::Sent;
use crate::{Error, Result, StorageKey};

/// Parts of one object.
pub(super) struct Parts {
    pub(super) key: StorageKey,
    pub(super) id: String,
    /// What the service calls each part; `None` while it is on its way.
    tags: Vec<Option<String>>,
    sending: JoinSet<(usize, Result<String>)>,
    /// For each part sent here: the bytes and the hash of the upload up to its end.
    ends: Vec<(u64, Hasher)>,
    /// Parts and bytes that were stored before.
    before: (usize, u64),
}

impl Parts {
    /// A multipart upload without parts.
    pub(super) fn new(key: StorageKey, id: String) -> Parts {
        Parts {
            key,
            id,
            tags: Vec::new(),
            sending: JoinSet::new(),
            ends: Vec::new(),
            before: (0, 0),
        }
    }

    /// One that another request, perhaps on another node, has begun.
    pub(super) fn resumed(key: StorageKey, sent: Sent) -> Parts {
        Parts {
            before: (sent.tags.len(), sent.size),
            tags: sent.tags.into_iter().map(Some).collect(),
            ..Parts::new(key, sent.id)
        }
    }

    pub(super) fn count(&self) -> usize {
        self.tags.len()
    }

    /// Waits until another part may be sent.
    pub(super) async fn room(&mut self, at_once: usize) -> Result<()> {
        while self.sending.len() >= at_once {
            self.one_stored().await?;
        }
        Ok(())
    }

    /// Sends the next part. `end` and `hasher` are those of the upload up to its end.
    pub(super) fn send(
        &mut self,
        shared: &Arc<Shared>,
        payload: PutPayload,
        reserved: Option<OwnedSemaphorePermit>,
        end: u64,
        hasher: Hasher,
    ) {
        let index = self.tags.len();
        self.tags.push(None);
        self.ends.push((end, hasher));
        let (shared, key, id) = (Arc::clone(shared), self.key.clone(), self.id.clone());
        self.sending.spawn(async move {
            let _reserved = reserved;
            (index, shared.bucket.part(&key, &id, index, payload).await)
        });
    }

    async fn one_stored(&mut self) -> Result<()> {
        let Some(joined) = self.sending.join_next().await else {
            return Ok(());
        };
        let (index, stored) = joined.map_err(|_| {
            Error::unavailable("write a part of", self.key.as_str(), "its task was lost")
        })?;
        self.tags[index] = Some(stored?);
        Ok(())
    }

    /// Waits until every part sent is stored.
    pub(super) async fn all_stored(&mut self) -> Result<()> {
        while !self.sending.is_empty() {
            self.one_stored().await?;
        }
        Ok(())
    }

    /// Waits for what is on its way, and keeps the parts up to the first that failed: their bytes and hash, if
    /// any of them was sent here.
    pub(super) async fn settle(&mut self) -> Option<(u64, Hasher)> {
        while !self.sending.is_empty() {
            // A part that failed is missing; that is all there is to know of it.
            let _ = self.one_stored().await;
        }
        let stored = self.tags.iter().take_while(|tag| tag.is_some()).count();
        self.tags.truncate(stored);
        let sent = stored.checked_sub(self.before.0 + 1)?;
        self.ends.get(sent).cloned()
    }

    /// What every part is called, once all are stored.
    pub(super) fn tags(&self) -> Vec<String> {
        self.tags.iter().flatten().cloned().collect()
    }

    /// What the record says of it, once all are stored.
    pub(super) fn sent(&self) -> Sent {
        let here = self.count().checked_sub(self.before.0 + 1);
        let end = here.and_then(|last| self.ends.get(last));
        Sent {
            key: self.key.as_str().to_owned(),
            id: self.id.clone(),
            size: end.map_or(self.before.1, |(end, _)| *end),
            tags: self.tags(),
        }
    }
}
