//! Tokens for clients that only try without credentials when they are offered a token.
//!
//! Docker and its relatives stop at a Basic challenge when they have no credentials; to a Bearer challenge they
//! answer by asking the named address for a token, without credentials if they have none. So where pulls need no
//! login, the challenge is Bearer, and this registry answers that question itself. A token says who its bearer
//! is and nothing about what he may do: that is decided afresh for each request.
//!
//! Source: Docker's token authentication specification.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use holdfast_model::Timestamp;
use sha2::Sha256;

use super::Caller;

/// How long a token is good. Clients ask again by themselves.
pub(crate) const LIFETIME: Duration = Duration::from_secs(300);

/// Makes and checks tokens under one secret.
pub(super) struct Tokens {
    key: Hmac<Sha256>,
}

impl Tokens {
    /// Nodes that serve one name must share the secret, and nobody else may know it: it makes users.
    pub(super) fn new(secret: &[u8]) -> Tokens {
        let mut key = Hmac::new_from_slice(secret).expect("HMAC takes keys of any length");
        key.update(b"holdfast access token 1\0");
        Tokens { key }
    }

    /// A token for this caller: when it ends and his name, then the proof.
    pub(super) fn issue(&self, caller: &Caller, now: Timestamp) -> String {
        let claim = format!(
            "{}:{}",
            now.plus(LIFETIME).as_micros(),
            caller.name().unwrap_or_default()
        );
        let proof = self
            .key
            .clone()
            .chain_update(claim.as_bytes())
            .finalize()
            .into_bytes();
        format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(claim),
            URL_SAFE_NO_PAD.encode(proof)
        )
    }

    /// Whose token this is, while it is good.
    pub(super) fn verify(&self, token: &str, now: Timestamp) -> Option<Caller> {
        let (claim, proof) = token.split_once('.')?;
        let claim = URL_SAFE_NO_PAD.decode(claim).ok()?;
        let proof = URL_SAFE_NO_PAD.decode(proof).ok()?;
        self.key
            .clone()
            .chain_update(&claim)
            .verify_slice(&proof)
            .ok()?;
        let claim = String::from_utf8(claim).ok()?;
        let (end, name) = claim.split_once(':')?;
        if now.as_micros() >= end.parse().ok()? {
            return None;
        }
        Some(if name.is_empty() {
            Caller::Guest
        } else {
            Caller::User(name.to_owned())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_for_one_caller_of_one_registry_for_a_while() {
        let (ours, theirs) = (Tokens::new(b"ours"), Tokens::new(b"theirs"));
        let now = Timestamp::from_micros(1_000_000);
        let ann = Caller::User("ann:x".to_owned());
        let token = ours.issue(&ann, now);
        assert_eq!(ours.verify(&token, now), Some(ann));
        assert_eq!(
            ours.verify(&ours.issue(&Caller::Anonymous, now), now),
            Some(Caller::Guest)
        );
        assert_eq!(ours.verify(&token, now.plus(LIFETIME)), None);
        assert_eq!(theirs.verify(&token, now), None);
        let other = ours.issue(&Caller::User("bob".to_owned()), now);
        let (claim, _) = other.split_once('.').unwrap();
        let (_, proof) = token.split_once('.').unwrap();
        for forged in [
            format!("{claim}.{proof}"),
            token.replace('.', ""),
            String::new(),
            ".".to_owned(),
        ] {
            assert_eq!(ours.verify(&forged, now), None, "{forged}");
        }
    }
}
