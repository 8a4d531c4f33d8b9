//! Multipart uploads as static large objects: segments with names of their own, and a manifest that makes them an object.
//!
//! A segment's name has a random end. So whatever a request that was given up long ago still writes, it changes no
//! segment of an object; it is found beside them by whoever sweeps up after its upload, as what no manifest names.
//!
//! An object is made where there is none: two nodes that go on with one upload may have different segments of it, and
//! the first to complete has its way. Two in the same instant could both be let in; the database lets one request at
//! a time work on an upload.

use std::collections::HashSet;

use async_trait::async_trait;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::{HeaderValue, Method, StatusCode};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{MultipartId, PutPayload, PutResult};
use serde::{Deserialize, Serialize};

use super::client::{Asked, Failure, Outcome, Place, STORE, json};
use super::store::{AT_ONCE, LISTED_AT_ONCE, Swift, header_text};
use crate::Result;
use crate::cloud::bucket::failed;
use crate::cloud::multiparts::{Multipart, Multiparts};

/// Marks the id of an upload whose object is there: only what the object does not have may be deleted.
const BESIDE: &str = "+";

/// What a manifest says of a segment when it is put.
#[derive(Serialize)]
struct Named {
    path: String,
    etag: String,
    size_bytes: u64,
}

/// The same as it comes back.
#[derive(Deserialize)]
struct Kept {
    name: String,
}

impl Swift {
    /// What the names of an upload's segments begin with.
    fn segments_of(&self, name: &str, id: &str) -> String {
        let below = name.strip_prefix(&self.files).unwrap_or(name);
        format!("{}{below}/{id}/", self.segments)
    }

    /// The segments that an object's manifest names; `None` if there is no such object.
    ///
    /// Segments that no manifest names are deleted, so one that is only out of reach must not pass for absent: every
    /// replica is asked, and the listing has to say the same.
    async fn manifest(&self, name: &str) -> Outcome<Option<HashSet<String>>> {
        let asked = Asked::new(Method::GET, Place::Object(name))
            .query("multipart-manifest", "get")
            .header("x-newest", HeaderValue::from_static("true"));
        let answer = match self.client.send(&asked).await {
            Err(failure) if failure.status() == Some(StatusCode::NOT_FOUND) => {
                let listed = self.page(name, None, None, 1).await?;
                return match listed.first() {
                    Some(entry) if entry.name() == name => {
                        let text = format!("{name} is listed and cannot be found");
                        Err(Failure::Answer(text))
                    }
                    _ => Ok(None),
                };
            }
            answer => answer?,
        };
        // Anything else would come as it is.
        if header_text(answer.headers(), "x-static-large-object").is_none() {
            return Ok(None);
        }
        let kept: Vec<Kept> = json(answer).await?;
        let ours = format!("/{}/", self.client.container());
        let below = |kept: Kept| kept.name.strip_prefix(&ours).map(str::to_owned);
        Ok(Some(kept.into_iter().filter_map(below).collect()))
    }
}

#[async_trait]
impl MultipartStore for Swift {
    /// Nothing is asked: an upload begins with its first segment.
    async fn create_multipart(&self, _path: &Path) -> object_store::Result<MultipartId> {
        Ok(format!("{:032x}", u128::from_be_bytes((self.random)())))
    }

    async fn put_part(
        &self,
        path: &Path,
        id: &MultipartId,
        part_idx: usize,
        data: PutPayload,
    ) -> object_store::Result<PartId> {
        let own = format!(
            "{part_idx:05}-{:032x}",
            u128::from_be_bytes((self.random)())
        );
        let name = format!("{}{own}", self.segments_of(path.as_ref(), id));
        let size = data.content_length();
        let put = self.put_object(&name, data).await;
        let tag = put.map_err(|failure| failure.about(path.as_ref()))?;
        Ok(PartId {
            content_id: format!("{own}:{size}:{}", tag.trim_matches('"')),
        })
    }

    /// Makes the object, unless there is one: whoever completes first has said what the name's content is.
    async fn complete_multipart(
        &self,
        path: &Path,
        id: &MultipartId,
        parts: Vec<PartId>,
    ) -> object_store::Result<PutResult> {
        let segments = self.segments_of(path.as_ref(), id);
        let named = |part: &PartId| {
            let mut words = part.content_id.splitn(3, ':');
            Some(Named {
                path: format!("/{}/{segments}{}", self.client.container(), words.next()?),
                size_bytes: words.next()?.parse().ok()?,
                etag: words.next()?.to_owned(),
            })
        };
        let named: Option<Vec<Named>> = parts.iter().map(named).collect();
        let named = named.ok_or_else(|| object_store::Error::Generic {
            store: STORE,
            source: "what a part is called is not understood".into(),
        })?;
        let manifest = serde_json::to_string(&named).expect("texts and numbers are JSON");
        let asked = Asked::new(Method::PUT, Place::Object(path.as_ref()))
            .query("multipart-manifest", "put")
            .header("if-none-match", HeaderValue::from_static("*"))
            .header(
                "content-type",
                HeaderValue::from_static(super::store::CONTENT_TYPE),
            )
            .body(manifest);
        let answer = self.client.send(&asked).await;
        let answer = answer.map_err(|failure| failure.about(path.as_ref()))?;
        Ok(PutResult {
            e_tag: header_text(answer.headers(), "etag").map(str::to_owned),
            version: None,
            extensions: Default::default(),
        })
    }

    /// Deletes what is no part of an object: all of the upload, or what was left beside one.
    async fn abort_multipart(&self, path: &Path, id: &MultipartId) -> object_store::Result<()> {
        let name = path.as_ref();
        let abort = async {
            let (id, beside) = match id.strip_suffix(BESIDE) {
                Some(id) => (id, true),
                None => (id.as_str(), false),
            };
            let mut stray = self.names(&self.segments_of(name, id)).await?;
            if stray.is_empty() {
                return Ok(());
            }
            match self.manifest(name).await? {
                Some(kept) => stray.retain(|segment| !kept.contains(segment)),
                None if beside => return Ok(()),
                None => {}
            }
            self.delete_all(stray).await
        };
        abort.await.map_err(|failure: Failure| failure.about(name))
    }
}

#[async_trait]
impl Multiparts for Swift {
    /// Uploads with segments that are no part of an object.
    async fn list(&self, prefix: &str, most: usize) -> Result<Vec<Multipart>> {
        let found = self.unfinished(prefix, most).await;
        found.map_err(|failure| failed("list", prefix)(failure.about(prefix)))
    }
}

/// An upload, and the segments that it has.
type Upload = ((String, String), Vec<String>);

impl Swift {
    async fn unfinished(&self, prefix: &str, most: usize) -> Outcome<Vec<Multipart>> {
        let below = prefix.strip_prefix(&self.files).unwrap_or(prefix);
        let listed = format!("{}{below}", self.segments);
        let mut found = Vec::new();
        let mut marker: Option<String> = None;
        // The last upload of a page may go on in the next one.
        let mut uploads: Vec<Upload> = Vec::new();
        loop {
            let page = self.page(&listed, None, marker.as_deref(), LISTED_AT_ONCE);
            let page = page.await?;
            for entry in &page {
                let segment = entry.name();
                let Some(upload) = self.upload_of(segment) else {
                    continue;
                };
                match uploads.last_mut() {
                    Some((last, segments)) if *last == upload => segments.push(segment.to_owned()),
                    _ => uploads.push((upload, vec![segment.to_owned()])),
                }
            }
            let ended = page.len() < LISTED_AT_ONCE;
            marker = page.last().map(|entry| entry.name().to_owned());
            let whole = if ended {
                uploads.len()
            } else {
                uploads.len().saturating_sub(1)
            };
            let looked = stream::iter(uploads.drain(..whole).collect::<Vec<_>>())
                .map(|upload| self.look_at(upload))
                .buffered(AT_ONCE)
                .try_collect::<Vec<Option<Multipart>>>();
            found.extend(looked.await?.into_iter().flatten());
            if ended || found.len() >= most {
                found.truncate(most);
                return Ok(found);
            }
        }
    }

    /// The object and the upload whose segment this is.
    fn upload_of(&self, segment: &str) -> Option<(String, String)> {
        let mut words = segment.strip_prefix(&self.segments)?.rsplitn(3, '/');
        let (_, id, name) = (words.next()?, words.next()?, words.next()?);
        Some((format!("{}{name}", self.files), id.to_owned()))
    }

    /// The upload, if it has segments that are no part of an object.
    async fn look_at(&self, ((name, id), segments): Upload) -> Outcome<Option<Multipart>> {
        let id = match self.manifest(&name).await? {
            Some(kept) if segments.iter().all(|segment| kept.contains(segment)) => return Ok(None),
            Some(_) => id + BESIDE,
            None => id,
        };
        Ok(Some(Multipart { name, id }))
    }
}
