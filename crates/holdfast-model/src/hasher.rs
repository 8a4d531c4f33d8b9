//! A running hash that can be saved between two requests and resumed after a restart.
//!
//! sha2 is the one library that exports its mid-state. The exported layout may change between its
//! releases, so a saved state carries a format number: a state of another format is refused, and the
//! caller hashes the stored bytes again.

use sha2::Digest as _;
use sha2::digest::common::hazmat::{SerializableState, SerializedState};

use crate::{Algorithm, Digest};

/// The layout of saved states. Raise it when an upgrade of sha2 changes the golden vector below.
const STATE_FORMAT: u8 = 1;

/// Hashes bytes as they pass.
#[derive(Clone, Debug)]
pub struct Hasher {
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    Sha256(sha2::Sha256),
    Sha512(sha2::Sha512),
}

/// A saved hash state that this release cannot resume; hash the stored bytes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the saved hash state is of another release or damaged")]
pub struct UnknownState;

impl Hasher {
    /// Starts a hash of nothing.
    pub fn new(algorithm: Algorithm) -> Hasher {
        let state = match algorithm {
            Algorithm::Sha256 => State::Sha256(sha2::Sha256::new()),
            Algorithm::Sha512 => State::Sha512(sha2::Sha512::new()),
        };
        Hasher { state }
    }

    /// The digest of these bytes, in one step.
    pub fn digest(algorithm: Algorithm, bytes: &[u8]) -> Digest {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(bytes);
        hasher.finish()
    }

    /// The algorithm that runs.
    pub fn algorithm(&self) -> Algorithm {
        match self.state {
            State::Sha256(_) => Algorithm::Sha256,
            State::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.state {
            State::Sha256(hasher) => hasher.update(bytes),
            State::Sha512(hasher) => hasher.update(bytes),
        }
    }

    /// The digest of all bytes added.
    pub fn finish(self) -> Digest {
        match self.state {
            State::Sha256(hasher) => Digest::sha256(hasher.finalize().into()),
            State::Sha512(hasher) => Digest::sha512(hasher.finalize().into()),
        }
    }

    /// The state as bytes: format, algorithm code, then what sha2 exports (106 or 210 bytes or so).
    pub fn save(&self) -> Vec<u8> {
        let mut bytes = vec![STATE_FORMAT, self.algorithm().code()];
        match &self.state {
            State::Sha256(hasher) => bytes.extend_from_slice(&hasher.serialize()),
            State::Sha512(hasher) => bytes.extend_from_slice(&hasher.serialize()),
        }
        bytes
    }

    /// Resumes a saved state. The state must come from a place clients cannot write.
    pub fn restore(bytes: &[u8]) -> Result<Hasher, UnknownState> {
        let [STATE_FORMAT, code, saved @ ..] = bytes else {
            return Err(UnknownState);
        };
        let state = match Algorithm::from_code(*code).ok_or(UnknownState)? {
            Algorithm::Sha256 => State::Sha256(resume(saved)?),
            Algorithm::Sha512 => State::Sha512(resume(saved)?),
        };
        Ok(Hasher { state })
    }
}

fn resume<H: SerializableState>(saved: &[u8]) -> Result<H, UnknownState> {
    let saved = SerializedState::<H>::try_from(saved).map_err(|_| UnknownState)?;
    H::deserialize(&saved).map_err(|_| UnknownState)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_digests() {
        assert_eq!(
            Hasher::digest(Algorithm::Sha256, b"abc").to_string(),
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert!(
            Hasher::digest(Algorithm::Sha512, b"abc")
                .to_string()
                .starts_with("sha512:ddaf35a193617aba")
        );
    }

    /// Fails when an upgrade of sha2 changes the exported layout: raise `STATE_FORMAT` then.
    #[test]
    fn the_saved_layout_is_the_one_of_this_format() {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(b"abc");
        let saved = hasher.save();
        let digest_of_layout = Hasher::digest(Algorithm::Sha256, &saved).hex();
        assert_eq!((saved.len(), &digest_of_layout[..16]), (GOLDEN.0, GOLDEN.1));
    }
    const GOLDEN: (usize, &str) = (106, "361c733e4875d76b");

    #[test]
    fn a_damaged_state_is_refused() {
        let good = Hasher::new(Algorithm::Sha256).save();
        assert!(Hasher::restore(&good[..good.len() - 1]).is_err());
        assert!(Hasher::restore(&[]).is_err());
        let mut other_format = good.clone();
        other_format[0] = 200;
        assert!(Hasher::restore(&other_format).is_err());
    }

    proptest! {
        #[test]
        fn saving_anywhere_changes_nothing(bytes in prop::collection::vec(any::<u8>(), 0..600), cut in 0_usize..600, long in any::<bool>()) {
            let algorithm = if long { Algorithm::Sha512 } else { Algorithm::Sha256 };
            let cut = cut.min(bytes.len());
            let mut hasher = Hasher::new(algorithm);
            hasher.update(&bytes[..cut]);
            let mut resumed = Hasher::restore(&hasher.save()).unwrap();
            resumed.update(&bytes[cut..]);
            prop_assert_eq!(resumed.finish(), Hasher::digest(algorithm, &bytes));
        }
    }
}
