//! URLs that CloudFront takes: signed for one object until one moment (its "canned policy").
//!
//! The signature is RSA with SHA-1, which is all that CloudFront checks. aws-lc-rs verifies such signatures and
//! makes none, which is why there is another library for RSA.
//!
//! Source: CloudFront Developer Guide, "Creating a signed URL using a canned policy".

use std::io::Read as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use holdfast_model::Timestamp;
use rsa::PrivateKey;
use rsa::pkcs1::DecodeRsaPrivateKey as _;
use rsa::pkcs8::DecodePrivateKey as _;
use sha1::Sha1;

use crate::config;

/// Largest file that is read as a key.
const KEY_BYTES_MAX: u64 = 64 * 1024;

/// What makes such URLs.
pub(super) struct Signer {
    key: PrivateKey,
    key_pair_id: String,
}

fn read(path: &Path) -> std::io::Result<String> {
    let mut pem = String::new();
    let file = std::fs::File::open(path)?;
    file.take(KEY_BYTES_MAX).read_to_string(&mut pem)?;
    Ok(pem)
}

impl Signer {
    pub(super) fn open(settings: &config::CloudFront) -> Result<Signer, String> {
        let path = &settings.private_key;
        let failed = |why: &str| format!("cannot use the CloudFront key {}: {why}", path.display());
        let pem = read(path).map_err(|error| failed(&error.to_string()))?;
        Signer::new(&pem, settings.key_pair_id.clone()).map_err(|why| failed(&why))
    }

    fn new(pem: &str, key_pair_id: String) -> Result<Signer, String> {
        let key = if pem.contains("-----BEGIN RSA PRIVATE KEY-----") {
            PrivateKey::from_pkcs1_pem(pem).map_err(|error| error.to_string())
        } else {
            PrivateKey::from_pkcs8_pem(pem).map_err(|error| error.to_string())
        };
        Ok(Signer {
            key: key?,
            key_pair_id,
        })
    }

    /// The URL with what makes it good until that time. It takes about a millisecond of a processor.
    pub(super) fn sign(&self, url: &str, until: Timestamp) -> Result<String, String> {
        let expires = until.as_micros() / 1_000_000;
        let policy = format!(
            r#"{{"Statement":[{{"Resource":"{url}","Condition":{{"DateLessThan":{{"AWS:EpochTime":{expires}}}}}}}]}}"#
        );
        let signature = self
            .key
            .pkcs1v15_sign::<Sha1>(policy.as_bytes())
            .map_err(|error| error.to_string())?;
        // Their alphabet: what has a meaning in a URL is replaced.
        let signature: String = STANDARD
            .encode(signature)
            .chars()
            .map(|letter| match letter {
                '+' => '-',
                '=' => '_',
                '/' => '~',
                other => other,
            })
            .collect();
        let separator = if url.contains('?') { '&' } else { '?' };
        Ok(format!(
            "{url}{separator}Expires={expires}&Signature={signature}&Key-Pair-Id={}",
            self.key_pair_id
        ))
    }
}

#[cfg(test)]
mod tests {
    use rsa::pkcs8::{EncodePrivateKey as _, LineEnding};

    use super::*;

    /// Made for this test: `openssl genrsa -traditional 2048`.
    const KEY: &str = include_str!("test-key.pem");
    const URL: &str =
        "https://d111111abcdef8.cloudfront.net/docker/registry/v2/blobs/sha256/aa/aa/data";
    /// `openssl dgst -sha1 -sign test-key.pem POLICY | openssl base64 -A | tr '+=/' '-_~'`, where POLICY is the canned
    /// policy of that URL until 1767290400.
    const SIGNATURE: &str = "Ww8LGh8XgjkJHtqgnNFIlDS41SMizQv3BYq5JizgP6L2kCkqmYf7YO3innnefujrpHbA0fpSrWerwu6b1Tiv4ziXybogLBUs7ROXSo894dSyoIrjNo19~elTeexlWIPXgDb8SRvVRn9MSpesiMaTvPsBLK3GZitgE~VeBtAFq47K2rseS2UirUoIZ1ysProeW7NrqERjziBLAnDVufJ~zLGlQdnsuShyH6KxZJyhcgY2BCcSQYlipp0RdptLYdQGFGMT16NNAxmCoPX91ZIIzm0aVOaEvnUfjlHDsom7iSOkXlLktEwhxBsoWwdMsA8k9EmthWzXkNYkUAnQa06YQQ__";

    #[test]
    fn signatures_are_those_of_openssl() {
        let until = Timestamp::from_micros(1_767_290_400_999_999);
        let rest = format!("Expires=1767290400&Signature={SIGNATURE}&Key-Pair-Id=APKA123");
        let signer = Signer::new(KEY, "APKA123".to_owned()).unwrap();
        assert_eq!(signer.sign(URL, until), Ok(format!("{URL}?{rest}")));

        let again = signer.key.to_pkcs8_pem(LineEnding::LF).unwrap();
        let signer = Signer::new(&again, "APKA123".to_owned()).unwrap();
        assert_eq!(signer.sign(URL, until), Ok(format!("{URL}?{rest}")));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let truncated = &KEY[..KEY.len() / 2];
        for pem in ["", "APKA123", truncated] {
            assert!(Signer::new(pem, "k".to_owned()).is_err(), "{pem}");
        }
    }
}
