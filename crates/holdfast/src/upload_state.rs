//! The `_state` of an upload's `Location`: proof that this registry opened that session in that repository.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use holdfast_model::{RepositoryName, UploadId};
use sha2::Sha256;

/// Makes and checks upload states under one secret.
pub(crate) struct UploadStates {
    key: Hmac<Sha256>,
}

impl UploadStates {
    /// Nodes that share uploads must share the secret.
    pub(crate) fn new(secret: &[u8]) -> UploadStates {
        UploadStates {
            key: Hmac::new_from_slice(secret).expect("HMAC takes keys of any length"),
        }
    }

    /// The state of a session: 43 characters that a URL can hold.
    pub(crate) fn sign(&self, repository: &RepositoryName, id: UploadId) -> String {
        URL_SAFE_NO_PAD.encode(self.mac(repository, id).finalize().into_bytes())
    }

    /// Whether the state was made here for that session.
    pub(crate) fn verify(&self, repository: &RepositoryName, id: UploadId, state: &str) -> bool {
        let state = URL_SAFE_NO_PAD.decode(state.trim_end_matches('='));
        state.is_ok_and(|state| self.mac(repository, id).verify_slice(&state).is_ok())
    }

    fn mac(&self, repository: &RepositoryName, id: UploadId) -> Hmac<Sha256> {
        let mut mac = self.key.clone();
        mac.update(b"holdfast upload state 1\0");
        mac.update(repository.as_str().as_bytes());
        mac.update(b"\0");
        mac.update(id.to_string().as_bytes());
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_for_one_session_of_one_registry() {
        let (ours, theirs) = (UploadStates::new(b"ours"), UploadStates::new(b"theirs"));
        let (a, b): (RepositoryName, RepositoryName) = ("a".parse().unwrap(), "b".parse().unwrap());
        let (one, two) = (
            UploadId::from_random([1; 16]),
            UploadId::from_random([2; 16]),
        );
        let state = ours.sign(&a, one);
        assert!(ours.verify(&a, one, &state));
        assert!(ours.verify(&a, one, &format!("{state}=")));
        assert!(!ours.verify(&b, one, &state));
        assert!(!ours.verify(&a, two, &state));
        assert!(!theirs.verify(&a, one, &state));
        assert!(!ours.verify(&a, one, &state[1..]));
        assert!(!ours.verify(&a, one, ""));
    }
}
