//! Credentials that were right a moment ago.
//!
//! A bcrypt check costs 50 to 100 ms of a processor, and an image pull brings dozens of requests. What is
//! kept is a keyed hash of name, password and stored hash under a key that never leaves the process, for a
//! minute; a change of the stored hash therefore forgets it at once. Wrong credentials are never kept.

use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit as _, Mac as _};
use quick_cache::sync::Cache;
use sha2::Sha256;

use crate::random;

/// How long a checked credential is taken on trust.
const TRUST: Duration = Duration::from_secs(60);

/// Most credentials remembered.
const CAPACITY: usize = 10_000;

pub(super) type Fingerprint = [u8; 32];

/// The credentials checked within the last minute.
pub(super) struct Remembered {
    key: Hmac<Sha256>,
    checked: Cache<Fingerprint, Instant>,
}

impl Remembered {
    pub(super) fn new() -> Remembered {
        let key =
            Hmac::new_from_slice(&random::bytes::<32>()).expect("HMAC takes keys of any length");
        Remembered {
            key,
            checked: Cache::new(CAPACITY),
        }
    }

    /// What stands for these credentials.
    pub(super) fn fingerprint(&self, name: &str, password: &str, stored: &str) -> Fingerprint {
        let mut mac = self.key.clone();
        for part in [name, password, stored] {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        mac.finalize().into_bytes().into()
    }

    pub(super) fn knows(&self, fingerprint: &Fingerprint, now: Instant) -> bool {
        self.checked
            .get(fingerprint)
            .is_some_and(|since| now.saturating_duration_since(since) < TRUST)
    }

    pub(super) fn remember(&self, fingerprint: Fingerprint, now: Instant) {
        self.checked.insert(fingerprint, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn for_a_minute_and_for_the_same_hash() {
        let remembered = Remembered::new();
        let now = Instant::now();
        let known = remembered.fingerprint("a", "b", "hash");
        assert!(!remembered.knows(&known, now));
        remembered.remember(known, now);
        assert!(remembered.knows(&known, now + TRUST / 2));
        assert!(!remembered.knows(&known, now + TRUST));
        for (name, password, stored) in
            [("a", "b", "other"), ("ab", "", "hash"), ("", "ab", "hash")]
        {
            assert_ne!(remembered.fingerprint(name, password, stored), known);
        }
    }
}
