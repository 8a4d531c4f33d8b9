//! The one place that draws random bytes, from the operating system.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Random bytes that nobody can guess.
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system has a random source");
    bytes
}

/// A number that no other request of this process has, and that tells nobody how many there were.
pub(crate) fn request_number() -> u64 {
    static START: LazyLock<u64> = LazyLock::new(|| u64::from_le_bytes(bytes()));
    static COUNT: AtomicU64 = AtomicU64::new(0);
    /// Odd, so that multiples of it visit every number before one comes again.
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    START.wrapping_add(count.wrapping_mul(STEP))
}

/// Random bytes as lower-case hex, twice as many characters.
pub(crate) fn hex<const N: usize>() -> String {
    holdfast_model::digest::hex(&bytes::<N>())
}
