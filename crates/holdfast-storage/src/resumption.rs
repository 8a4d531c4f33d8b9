//! From where a resumed upload must be hashed again.

use holdfast_model::{Algorithm, Hasher};

use crate::Progress;

/// The progress to start from: the recorded one if the stored bytes reach it, else nothing.
///
/// Stored bytes beyond the returned offset are hashed by the driver before it goes on.
pub(crate) fn starting_point(
    saved: Option<Progress>,
    stored_bytes: u64,
    algorithm: Algorithm,
) -> Progress {
    match saved {
        Some(saved) if saved.offset <= stored_bytes && saved.hasher.algorithm() == algorithm => {
            saved
        }
        _ => Progress::new(0, Hasher::new(algorithm)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_bytes_are_believed_before_the_record() {
        let saved = |offset| Some(Progress::new(offset, Hasher::new(Algorithm::Sha256)));
        for (saved, algorithm, expected) in [
            (None, Algorithm::Sha256, 0),
            (saved(0), Algorithm::Sha256, 0),
            (saved(9), Algorithm::Sha256, 9),
            (saved(10), Algorithm::Sha256, 10),
            (saved(11), Algorithm::Sha256, 0),
            (saved(9), Algorithm::Sha512, 0),
        ] {
            let start = starting_point(saved, 10, algorithm);
            assert_eq!(
                (start.offset, start.hasher.algorithm()),
                (expected, algorithm)
            );
        }
    }
}
