//! Reading stored bytes again.

use std::time::Duration;

use holdfast_model::{Digest, Hasher};
use holdfast_storage::{Error as StorageError, Listed, StorageKey};
use tokio::time::Instant;

use super::Damage;
use crate::operations::Operations;

/// Bytes hashed between two looks at the pace.
const PIECE_BYTES: u64 = 4 * 1024 * 1024;
/// What opening a file costs, in bytes of reading: what keeps many small blobs from being no load at all.
const OPENING_BYTES: u64 = 16 * 1024;
/// Files looked at when the bytes of a digest are looked for.
const CANDIDATES: usize = 16;

/// How fast bytes may be read.
pub(crate) struct Pace {
    bytes_per_second: Option<u64>,
    next: Instant,
}

impl Pace {
    /// As fast as this; `None` is as fast as possible.
    pub(crate) fn new(bytes_per_second: Option<u64>) -> Pace {
        Pace {
            bytes_per_second,
            next: Instant::now(),
        }
    }

    /// To be called after so many bytes were read: waits until the next may be.
    pub(crate) async fn spent(&mut self, bytes: u64) {
        let Some(rate) = self.bytes_per_second else {
            return;
        };
        // Time that passed unused is not saved up.
        self.next = self.next.max(Instant::now()) + due(bytes, rate);
        tokio::time::sleep_until(self.next).await;
    }
}

/// How long so many bytes take at this rate.
fn due(bytes: u64, bytes_per_second: u64) -> Duration {
    let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(bytes_per_second.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

impl Operations {
    /// Reads the bytes under a key and says what is wrong with them, if anything is. Bytes with another
    /// digest are read a second time, since memory errs as well.
    ///
    /// An error means that it is not known.
    pub(super) async fn verify(
        &self,
        digest: &Digest,
        size: u64,
        key: &StorageKey,
        pace: &mut Pace,
    ) -> Result<Option<Damage>, StorageError> {
        match self.verify_once(digest, size, key, pace).await {
            Ok(Some(Damage::Digest)) => self.verify_once(digest, size, key, pace).await,
            other => other,
        }
    }

    async fn verify_once(
        &self,
        digest: &Digest,
        size: u64,
        key: &StorageKey,
        pace: &mut Pace,
    ) -> Result<Option<Damage>, StorageError> {
        let reader = match self.store.open(key).await {
            Ok(reader) => reader,
            Err(StorageError::NotFound(_)) => return Ok(Some(Damage::Missing)),
            Err(error) => return Err(error),
        };
        pace.spent(OPENING_BYTES).await;
        if reader.size() != size {
            return Ok(Some(Damage::Size));
        }
        let mut hasher = Hasher::new(digest.algorithm());
        let mut offset = 0;
        loop {
            let (next, hashed) = match reader.hash_at(offset, PIECE_BYTES, hasher).await {
                Ok(hashed) => hashed,
                Err(StorageError::Truncated { .. }) => return Ok(Some(Damage::Size)),
                Err(error) => return Err(error),
            };
            hasher = next;
            if hashed == 0 {
                break;
            }
            offset += hashed;
            pace.spent(hashed).await;
        }
        Ok((hasher.finish() != *digest).then_some(Damage::Digest))
    }

    /// Another object with the bytes of this digest, read and found right: its key and size.
    pub(super) async fn find_bytes(
        &self,
        digest: &Digest,
        except: Option<&str>,
        pace: &mut Pace,
    ) -> Result<Option<(StorageKey, u64)>, StorageError> {
        let canonical = StorageKey::canonical(digest);
        let directory = canonical
            .as_str()
            .rsplit_once('/')
            .and_then(|(directory, _)| directory.parse().ok());
        let Some(directory) = directory else {
            return Ok(None);
        };
        let mut listing = self.store.children(&directory).await?;
        let mut looked = 0;
        loop {
            let batch = listing.next().await?;
            if batch.is_empty() {
                return Ok(None);
            }
            for entry in batch {
                let Listed::Object { key, size, .. } = entry else {
                    continue;
                };
                if except == Some(key.as_str()) || looked >= CANDIDATES {
                    continue;
                }
                looked += 1;
                if self.verify(digest, size, &key, pace).await?.is_none() {
                    return Ok(Some((key, size)));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (bytes, rate, millis) in [
            (0, 1000, 0),
            (1000, 1000, 1000),
            (4 << 20, 8 << 20, 500),
            (5, 0, 5000),
        ] {
            assert_eq!(due(bytes, rate), Duration::from_millis(millis));
        }
        assert!(due(u64::MAX, 1) > Duration::from_secs(1 << 33));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pace_is_kept_and_idle_time_is_not_saved() {
        let mut pace = Pace::new(Some(1000));
        let start = Instant::now();
        for _ in 0..10 {
            pace.spent(500).await;
        }
        assert_eq!(start.elapsed(), Duration::from_secs(5));
        tokio::time::sleep(Duration::from_secs(60)).await;
        let start = Instant::now();
        pace.spent(1000).await;
        assert_eq!(start.elapsed(), Duration::from_secs(1));
        let mut fast = Pace::new(None);
        fast.spent(u64::MAX).await;
        assert_eq!(start.elapsed(), Duration::from_secs(1));
    }
}
