//! Multipart uploads that a bucket still holds: the one request that `object_store` does not make.
//!
//! A node that is killed between "multipart upload begun" and "id recorded" leaves parts behind that nobody can
//! name, and that cost money for ever. They are found by listing the uploads under the session's own keys. The
//! request is signed as a URL, which `object_store` does for any query.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use object_store::path::Path;
use object_store::signer::{Method, SignedUrlOptions, Signer};
use serde::Deserialize;

use super::bucket::failed;
use crate::{Error, Result};

/// How long the signed URL is good; it is used at once.
const SIGNED_FOR: Duration = Duration::from_secs(300);
/// Tries before an answer that says "later" counts as failure.
const TRIES: u32 = 6;
/// The pause after the first try; each is twice as long as the one before.
const PAUSE: Duration = Duration::from_millis(100);
/// Most bytes of an answer; a thousand uploads are much less.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Finds multipart uploads.
#[async_trait]
pub(super) trait Multiparts: Send + Sync {
    /// The multipart uploads whose names begin with `prefix`, at most so many.
    async fn list(&self, prefix: &str, most: usize) -> Result<Vec<Multipart>>;
}

/// Asks the service, by the request that S3 and Google Cloud Storage have in common.
pub(super) struct SignedListing {
    pub(super) signer: Arc<dyn Signer>,
    pub(super) client: reqwest::Client,
}

/// A multipart upload under way.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Multipart {
    /// Its name in the bucket.
    #[serde(rename = "Key")]
    pub(super) name: String,
    #[serde(rename = "UploadId")]
    pub(super) id: String,
}

/// What one request found.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Answer {
    #[serde(rename = "Upload")]
    found: Vec<Multipart>,
    #[serde(rename = "IsTruncated")]
    truncated: bool,
    #[serde(rename = "NextKeyMarker")]
    next_key: String,
    #[serde(rename = "NextUploadIdMarker")]
    next_id: String,
}

#[async_trait]
impl Multiparts for SignedListing {
    async fn list(&self, prefix: &str, most: usize) -> Result<Vec<Multipart>> {
        let mut all = Vec::new();
        let (mut key, mut id) = (String::new(), String::new());
        loop {
            let mut query = vec![("prefix", prefix), ("uploads", "")];
            if !key.is_empty() {
                query.extend([("key-marker", key.as_str()), ("upload-id-marker", &id)]);
            }
            let options = SignedUrlOptions::new().with_query(query);
            let signed = self
                .signer
                .signed_url_opts(Method::GET, &Path::ROOT, SIGNED_FOR, &options)
                .await;
            let url = signed.map_err(failed("sign a listing of", prefix))?;
            let text = self.fetch(url.as_str(), prefix).await?;
            let mut answer: Answer = quick_xml::de::from_str(&text)
                .map_err(|error| unavailable(prefix, error.to_string()))?;
            // A service that ignores the prefix must not cost others their uploads.
            answer.found.retain(|found| found.name.starts_with(prefix));
            all.append(&mut answer.found);
            if !answer.truncated || answer.next_key.is_empty() || all.len() >= most {
                all.truncate(most);
                return Ok(all);
            }
            (key, id) = (answer.next_key, answer.next_id);
        }
    }
}

impl SignedListing {
    async fn fetch(&self, url: &str, prefix: &str) -> Result<String> {
        let mut pause = PAUSE;
        for tried in 1.. {
            let later = match self.client.get(url).send().await {
                Ok(answer) => {
                    let status = answer.status();
                    let patience = status.is_server_error() || status.as_u16() == 429;
                    match text_of(answer).await {
                        Ok(text) if status.is_success() => return Ok(text),
                        Ok(text) if patience => format!("the service said {status}: {text}"),
                        Ok(text) => {
                            let said = format!("the service said {status}: {text}");
                            return Err(unavailable(prefix, said));
                        }
                        Err(why) => why,
                    }
                }
                Err(error) => without_url(error),
            };
            if tried == TRIES {
                return Err(unavailable(prefix, later));
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        unreachable!("the loop returns")
    }
}

async fn text_of(mut answer: reqwest::Response) -> std::result::Result<String, String> {
    let mut text = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(without_url)? {
        text.extend_from_slice(&piece);
        if text.len() > ANSWER_BYTES_MAX {
            return Err("the answer is too long".to_owned());
        }
    }
    String::from_utf8(text).map_err(|error| error.to_string())
}

/// The URL carries a signature, which belongs in no log.
fn without_url(error: reqwest::Error) -> String {
    error.without_url().to_string()
}

fn unavailable(prefix: &str, why: String) -> Error {
    Error::Overloaded {
        operation: "list",
        subject: format!("multipart uploads of {prefix}"),
        source: std::io::Error::other(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> std::result::Result<Answer, quick_xml::DeError> {
        quick_xml::de::from_str(text)
    }

    #[test]
    fn listings_are_read() {
        let text = r#"<?xml version="1.0" encoding="UTF-8"?>
            <ListMultipartUploadsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
              <Bucket>b</Bucket><KeyMarker/><Prefix>a/</Prefix>
              <NextKeyMarker>a/c</NextKeyMarker><NextUploadIdMarker>2&amp;&#43;</NextUploadIdMarker>
              <IsTruncated>true</IsTruncated>
              <Upload><Key>a/b</Key><UploadId>1==</UploadId>
                <Initiator><ID>x</ID></Initiator><Owner><ID>y</ID></Owner></Upload>
              <Upload><UploadId>2&amp;&#43;</UploadId><Key>a/c</Key></Upload>
              <CommonPrefixes><Prefix>a/d/</Prefix></CommonPrefixes>
            </ListMultipartUploadsResult>"#;
        let upload = |name: &str, id: &str| Multipart {
            name: name.to_owned(),
            id: id.to_owned(),
        };
        let expected = Answer {
            found: vec![upload("a/b", "1=="), upload("a/c", "2&+")],
            truncated: true,
            next_key: "a/c".to_owned(),
            next_id: "2&+".to_owned(),
        };
        assert_eq!(parse(text).unwrap(), expected);
        let none = "<ListMultipartUploadsResult><Bucket>b</Bucket></ListMultipartUploadsResult>";
        assert_eq!(parse(none).unwrap(), Answer::default());
        assert!(parse("<a><b></a>").is_err());
    }
}
