//! Reading an object: one request for as many reads as follow each other.
//!
//! The bytes come as a stream that is read no further than asked for, so that a slow client holds a socket buffer
//! and no memory. What breaks off on the way is asked for again from where it ended, by `object_store`.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::ObjectMeta;

use super::Shared;
use super::bucket::failed;
use crate::{BlobReader, Error, READ_CHUNK_BYTES, Result, StorageKey};

pub(super) struct Reader {
    shared: Arc<Shared>,
    key: StorageKey,
    size: u64,
    e_tag: Option<String>,
    /// What will be read next, as far as somebody said so.
    expected: Mutex<Range<u64>>,
    /// The answer that is being read.
    current: tokio::sync::Mutex<Option<Current>>,
}

struct Current {
    /// Where `rest` begins.
    offset: u64,
    /// Where the answer ends.
    end: u64,
    rest: Bytes,
    stream: BoxStream<'static, object_store::Result<Bytes>>,
}

impl Reader {
    pub(super) fn new(shared: &Arc<Shared>, key: &StorageKey, meta: ObjectMeta) -> Reader {
        Reader {
            shared: Arc::clone(shared),
            key: key.clone(),
            size: meta.size,
            e_tag: meta.e_tag,
            expected: Mutex::default(),
            current: tokio::sync::Mutex::default(),
        }
    }

    fn expected(&self) -> Range<u64> {
        let expected = self.expected.lock();
        expected.unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn ask(&self, offset: u64) -> Result<Current> {
        let expected = self.expected();
        let end = if expected.contains(&offset) {
            expected.end.min(self.size)
        } else {
            self.size
        };
        let whole = offset == 0 && end == self.size;
        let range = (!whole).then_some(offset..end);
        let e_tag = self.e_tag.clone();
        let got = self.shared.bucket.get(&self.key, range, e_tag).await?;
        Ok(Current {
            offset,
            end,
            rest: Bytes::new(),
            stream: got.into_stream().boxed(),
        })
    }
}

#[async_trait]
impl BlobReader for Reader {
    fn size(&self) -> u64 {
        self.size
    }

    async fn read_at(&self, offset: u64, max: usize) -> Result<Bytes> {
        if offset >= self.size {
            return Ok(Bytes::new());
        }
        // Taken out, so that a read that is cancelled leaves nothing half-read behind.
        let mut place = self.current.lock().await;
        let goes_on = |current: &Current| current.offset == offset && offset < current.end;
        let mut current = match place.take().filter(goes_on) {
            Some(current) => current,
            None => self.ask(offset).await?,
        };
        while current.rest.is_empty() {
            let next = current.stream.try_next().await;
            current.rest = next
                .map_err(failed("read", self.key.as_str()))?
                .ok_or_else(|| Error::Truncated {
                    key: self.key.clone(),
                    size: self.size,
                    end: current.offset,
                })?;
        }
        let most = max.clamp(1, READ_CHUNK_BYTES).min(current.rest.len());
        let bytes = current.rest.split_to(most);
        current.offset += bytes.len() as u64;
        *place = Some(current);
        Ok(bytes)
    }

    fn expect(&self, range: Range<u64>) {
        *self.expected.lock().unwrap_or_else(PoisonError::into_inner) = range;
    }
}
