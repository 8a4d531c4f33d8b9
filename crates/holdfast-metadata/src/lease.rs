//! Leases: why a blob that answered HEAD is still there when the manifest comes.
//!
//! A link that no manifest uses yet is kept until its lease ends. Whoever is told that the blob exists
//! may rely on it for half a grace period, so an answer given later in the lease renews it.

use std::time::Duration;

use holdfast_model::Timestamp;

/// What to do about a link's lease before saying that the blob exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lease {
    /// Nothing: a manifest uses the link, or at least half the lease is left.
    Good,
    /// Answer, and renew behind the answer's back: it holds meanwhile.
    Renew,
    /// Renew first and look whether the link survived: it may be taken at any moment.
    Ended,
}

/// Decides on the lease of a link.
pub(crate) fn lease(used: bool, lease_until: Timestamp, now: Timestamp, grace: Duration) -> Lease {
    if used || now.plus(grace / 2) <= lease_until {
        Lease::Good
    } else if now < lease_until {
        Lease::Renew
    } else {
        Lease::Ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        let grace = Duration::from_micros(100);
        let cases = [
            (false, 100, 0, Lease::Good),
            (false, 100, 50, Lease::Good),
            (false, 100, 51, Lease::Renew),
            (false, 100, 99, Lease::Renew),
            (false, 100, 100, Lease::Ended),
            (false, 100, 500, Lease::Ended),
            (true, 100, 500, Lease::Good),
            (false, 100, i64::MAX, Lease::Ended),
        ];
        for (used, until, now, wanted) in cases {
            let got = lease(
                used,
                Timestamp::from_micros(until),
                Timestamp::from_micros(now),
                grace,
            );
            assert_eq!(got, wanted, "{used} {until} {now}");
        }
    }
}
