//! The requests on objects, as `object_store` names them.
//!
//! The bucket asks for few of its operations; the others are refused.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, NaiveDateTime};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use object_store::client::{HttpError, HttpResponse};
use object_store::list::{PaginatedListOptions, PaginatedListResult, PaginatedListStore};
use object_store::path::Path;
use object_store::{
    CopyMode, CopyOptions, Error, GetOptions, GetRange, GetResult, GetResultPayload, ListResult,
    MultipartUpload, ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, Result,
};
use serde::Deserialize;

use super::client::{Asked, Client, Failure, Outcome, Place, STORE, json, longer};

/// Requests under way at once for one caller.
pub(super) const AT_ONCE: usize = 16;
/// What every object of ours is.
pub(super) const CONTENT_TYPE: &str = "application/octet-stream";
/// Names of a page where the caller does not say.
pub(super) const LISTED_AT_ONCE: usize = 1000;
/// Where Distribution keeps uploads under way. What it makes of them later has the same segments.
const UPLOADS: &str = "/_uploads/";

/// A container.
#[derive(Clone, Debug)]
pub(super) struct Swift {
    pub(super) client: Arc<Client>,
    /// What the names of objects begin with.
    pub(super) files: String,
    /// What those of our segments begin with.
    pub(super) segments: String,
    /// What those of Distribution's segments begin with.
    pub(super) foreign_segments: String,
    pub(super) random: fn() -> [u8; 16],
}

impl fmt::Display for Swift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Swift({})", self.client.container())
    }
}

/// An entry of a listing.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Entry {
    Directory {
        subdir: String,
    },
    Object {
        name: String,
        bytes: u64,
        hash: String,
        last_modified: String,
    },
}

impl Entry {
    pub(super) fn name(&self) -> &str {
        match self {
            Entry::Directory { subdir } => subdir,
            Entry::Object { name, .. } => name,
        }
    }
}

/// What a deletion of a large object did.
#[derive(Deserialize)]
struct Deletion {
    #[serde(rename = "Response Status")]
    status: String,
    #[serde(rename = "Errors", default)]
    errors: Vec<(String, String)>,
}

pub(super) fn header_text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

impl Swift {
    /// Writes an object; its entity tag.
    pub(super) async fn put_object(&self, name: &str, payload: PutPayload) -> Outcome<String> {
        let asked = Asked::new(Method::PUT, Place::Object(name))
            .header("content-type", HeaderValue::from_static(CONTENT_TYPE))
            .body(payload);
        let answer = self.client.send(&asked).await?;
        let tag = header_text(answer.headers(), "etag");
        let tag = tag.ok_or_else(|| Failure::Answer("a write has no entity tag".to_owned()))?;
        Ok(tag.to_owned())
    }

    async fn look(&self, name: &str) -> Outcome<HttpResponse> {
        let asked = Asked::new(Method::HEAD, Place::Object(name));
        self.client.send(&asked).await
    }

    /// A page of the names that begin with `prefix`, after `marker`.
    pub(super) async fn page(
        &self,
        prefix: &str,
        delimiter: Option<&str>,
        marker: Option<&str>,
        most: usize,
    ) -> Outcome<Vec<Entry>> {
        let mut asked = Asked::new(Method::GET, Place::Container)
            .query("format", "json")
            .query("limit", most.to_string());
        for (name, value) in [
            ("prefix", Some(prefix)),
            ("delimiter", delimiter),
            ("marker", marker),
        ] {
            if let Some(value) = value {
                asked = asked.query(name, value);
            }
        }
        let answer = self.client.send(&asked).await?;
        // Without entries there may be no text either.
        if answer.status() == StatusCode::NO_CONTENT {
            return Ok(Vec::new());
        }
        json(answer).await
    }

    /// Every name that begins with `prefix`.
    pub(super) async fn names(&self, prefix: &str) -> Outcome<Vec<String>> {
        let mut names: Vec<String> = Vec::new();
        loop {
            let marker = names.last().cloned();
            let page = self.page(prefix, None, marker.as_deref(), LISTED_AT_ONCE);
            let page = page.await?;
            let full = page.len() >= LISTED_AT_ONCE;
            names.extend(page.iter().map(|entry| entry.name().to_owned()));
            if !full {
                return Ok(names);
            }
        }
    }

    /// Deletes objects as they are, without what may belong to them.
    pub(super) async fn delete_all(&self, names: Vec<String>) -> Outcome<()> {
        stream::iter(names)
            .map(|name| async move { self.delete_plain(&name).await })
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await
    }

    async fn delete_plain(&self, name: &str) -> Outcome<()> {
        let asked = Asked::new(Method::DELETE, Place::Object(name));
        match self.client.send(&asked).await {
            Err(failure) if failure.status() == Some(StatusCode::NOT_FOUND) => Ok(()),
            answer => answer.map(drop),
        }
    }

    /// Deletes an object and its segments, the object last: what breaks off on the way can be done again.
    async fn delete_object(&self, name: &str) -> Outcome<()> {
        let headers = self.look(name).await?.headers().clone();
        if header_text(&headers, "x-static-large-object").is_some() {
            let asked = Asked::new(Method::DELETE, Place::Object(name))
                .query("multipart-manifest", "delete")
                .header("accept", HeaderValue::from_static("application/json"));
            let done: Deletion = json(self.client.send(&asked).await?).await?;
            return match done.status.get(..3) {
                Some("200" | "404") if done.errors.is_empty() => Ok(()),
                _ => Err(Failure::Answer(format!(
                    "deleting segments: {}, {:?}",
                    done.status,
                    done.errors.first()
                ))),
            };
        }
        if let Some(manifest) = header_text(&headers, "x-object-manifest")
            && let Some(segments) = self.owned(name, manifest)
        {
            let segments = self.names(&segments).await?;
            self.delete_all(segments).await?;
        }
        self.delete_plain(name).await
    }

    /// What the names of the segments begin with that belong to a dynamic large object of Distribution's.
    fn owned(&self, name: &str, manifest: &str) -> Option<String> {
        let (container, segments) = manifest.split_once('/')?;
        let ours = container == self.client.container()
            && segments.starts_with(&self.foreign_segments)
            && segments.len() > self.foreign_segments.len()
            && !name.contains(UPLOADS);
        ours.then(|| format!("{}/", segments.trim_end_matches('/')))
    }

    /// The bytes of an answer, gone on with from where it breaks off.
    fn streamed(
        &self,
        got: HttpResponse,
        location: &Path,
        range: Range<u64>,
        e_tag: Option<String>,
    ) -> Content {
        let reading = Reading {
            client: Arc::clone(&self.client),
            location: location.clone(),
            rest: range,
            e_tag,
            body: got.into_body().bytes_stream(),
            failures: 0,
        };
        stream::try_unfold(reading, Reading::next).boxed()
    }
}

/// Asks for an object, or a part of it, or for what there is to say of it.
///
/// Whether it is still the object with that tag is compared here: a copy of a large object made by Swift 2.30 answers
/// `If-Match` with the tag of what it was copied from.
async fn get(
    client: &Client,
    name: &str,
    range: Option<&str>,
    e_tag: Option<&str>,
    method: Method,
) -> Outcome<HttpResponse> {
    let mut asked = Asked::new(method, Place::Object(name));
    if let Some(range) = range {
        let value = HeaderValue::from_str(range)
            .map_err(|_| Failure::Answer(format!("{range:?} is no range")))?;
        asked = asked.header("range", value);
    }
    let answer = client.send(&asked).await?;
    if e_tag.is_some() && header_text(answer.headers(), "etag") != e_tag {
        return Err(Failure::Answered {
            status: StatusCode::PRECONDITION_FAILED,
            said: "the object is another one by now".to_owned(),
        });
    }
    let partial = answer.status() == StatusCode::PARTIAL_CONTENT;
    if partial != range.is_some() {
        let text = format!("{} for the range {range:?}", answer.status());
        return Err(Failure::Answer(text));
    }
    Ok(answer)
}

type Content = BoxStream<'static, Result<Bytes>>;

/// An object that is being read.
struct Reading {
    client: Arc<Client>,
    location: Path,
    /// What is still to come.
    rest: Range<u64>,
    e_tag: Option<String>,
    body: BoxStream<'static, std::result::Result<Bytes, HttpError>>,
    /// Times it broke off.
    failures: usize,
}

impl Reading {
    async fn next(mut self) -> Result<Option<(Bytes, Reading)>> {
        let retry = self.client.retry().clone();
        let mut pause = retry.backoff.init_backoff;
        while !self.rest.is_empty() {
            let failure = match self.body.try_next().await {
                Ok(Some(bytes)) => {
                    self.rest.start += bytes.len() as u64;
                    return Ok(Some((bytes, self)));
                }
                Ok(None) => Failure::Answer("it ended too early".to_owned()),
                Err(error) => Failure::Connection(error),
            };
            self.failures += 1;
            if self.failures > retry.max_retries || self.e_tag.is_none() {
                return Err(failure.about(self.location.as_ref()));
            }
            tokio::time::sleep(pause).await;
            pause = longer(pause, &retry);
            let range = format!("bytes={}-{}", self.rest.start, self.rest.end - 1);
            let e_tag = self.e_tag.as_deref();
            let got = get(
                &self.client,
                self.location.as_ref(),
                Some(&range),
                e_tag,
                Method::GET,
            );
            let got = got
                .await
                .map_err(|failure| failure.about(self.location.as_ref()))?;
            self.body = got.into_body().bytes_stream();
        }
        Ok(None)
    }
}

fn failure(text: &str) -> Error {
    Error::Generic {
        store: STORE,
        source: text.into(),
    }
}

/// What the headers of an answer say of an object.
fn described(location: &Path, headers: &HeaderMap) -> Result<ObjectMeta> {
    let total = header_text(headers, "content-range").and_then(|range| range.rsplit('/').next());
    let size = total.or_else(|| header_text(headers, "content-length"));
    let size = size.and_then(|size| size.parse().ok());
    let seconds =
        header_text(headers, "x-timestamp").and_then(|seconds| seconds.parse::<f64>().ok());
    let precise =
        seconds.and_then(|seconds| DateTime::from_timestamp_micros((seconds * 1e6) as i64));
    let written = || DateTime::parse_from_rfc2822(header_text(headers, "last-modified")?).ok();
    Ok(ObjectMeta {
        location: location.clone(),
        last_modified: precise
            .or_else(|| written().map(|time| time.to_utc()))
            .ok_or_else(|| failure("an object has no time of its last change"))?,
        size: size.ok_or_else(|| failure("an object has no length"))?,
        e_tag: header_text(headers, "etag").map(str::to_owned),
        version: None,
    })
}

/// What is not asked for.
fn refused(operation: &str) -> Error {
    Error::NotImplemented {
        operation: operation.to_owned(),
        implementer: STORE.to_owned(),
    }
}

#[async_trait]
impl ObjectStore for Swift {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        if options.mode != PutMode::Overwrite {
            return Err(refused("a conditional write"));
        }
        let put = self.put_object(location.as_ref(), payload).await;
        Ok(PutResult {
            e_tag: Some(put.map_err(|failure| failure.about(location.as_ref()))?),
            version: None,
            extensions: Default::default(),
        })
    }

    async fn put_multipart_opts(
        &self,
        _location: &Path,
        _options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Err(refused("put_multipart"))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let method = if options.head {
            Method::HEAD
        } else {
            Method::GET
        };
        let range = options.range.as_ref().map(ToString::to_string);
        let (name, e_tag) = (location.as_ref(), options.if_match.as_deref());
        let got = get(&self.client, name, range.as_deref(), e_tag, method).await;
        let got = got.map_err(|failure| failure.about(name))?;
        let meta = described(location, got.headers())?;
        let range = match options.range {
            Some(GetRange::Bounded(range)) => range.start..range.end.min(meta.size),
            Some(GetRange::Offset(_) | GetRange::Suffix(_)) => {
                return Err(refused("a range without a beginning or an end"));
            }
            None => 0..meta.size,
        };
        let stream = if options.head {
            stream::empty().boxed()
        } else {
            self.streamed(got, location, range.clone(), meta.e_tag.clone())
        };
        Ok(GetResult {
            payload: GetResultPayload::Stream(stream),
            meta,
            range,
            attributes: Default::default(),
            extensions: Default::default(),
        })
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let swift = Arc::new(self.clone());
        locations
            .map(move |location| {
                let swift = Arc::clone(&swift);
                async move {
                    let location = location?;
                    let deleted = swift.delete_object(location.as_ref()).await;
                    deleted.map_err(|failure| failure.about(location.as_ref()))?;
                    Ok(location)
                }
            })
            .buffer_unordered(AT_ONCE)
            .boxed()
    }

    fn list(&self, _prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        stream::once(async { Err(refused("list")) }).boxed()
    }

    async fn list_with_delimiter(&self, _prefix: Option<&Path>) -> Result<ListResult> {
        Err(refused("list_with_delimiter"))
    }

    /// Copies the content: a large object becomes one of its own.
    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        if options.mode != CopyMode::Overwrite {
            return Err(refused("a conditional copy"));
        }
        let source = self.client.copy_source(from.as_ref());
        let asked =
            Asked::new(Method::PUT, Place::Object(to.as_ref())).header("x-copy-from", source);
        let copied = self.client.send(&asked).await;
        copied
            .map(drop)
            .map_err(|failure| failure.about(from.as_ref()))
    }
}

#[async_trait]
impl PaginatedListStore for Swift {
    async fn list_paginated(
        &self,
        prefix: Option<&str>,
        options: PaginatedListOptions,
    ) -> Result<PaginatedListResult> {
        let prefix = prefix.unwrap_or_default();
        let most = options.max_keys.unwrap_or(LISTED_AT_ONCE);
        let marker = options.page_token.or(options.offset);
        let page = self
            .page(
                prefix,
                options.delimiter.as_deref(),
                marker.as_deref(),
                most,
            )
            .await
            .map_err(|failure| failure.about(prefix))?;
        let page_token = page
            .last()
            .filter(|_| page.len() >= most)
            .map(|entry| entry.name().to_owned());
        let mut directories = Vec::new();
        let mut objects = Vec::new();
        for entry in page {
            match entry {
                Entry::Directory { subdir } => directories.push(Path::parse(&subdir)?),
                Entry::Object {
                    name,
                    bytes,
                    hash,
                    last_modified,
                } => objects.push(ObjectMeta {
                    location: Path::parse(&name)?,
                    last_modified: last_modified
                        .parse::<NaiveDateTime>()
                        .map_err(|error| failure(&error.to_string()))?
                        .and_utc(),
                    size: bytes,
                    e_tag: Some(hash),
                    version: None,
                }),
            }
        }
        // A dynamic large object is listed as the nothing that it is without its segments.
        let objects = stream::iter(objects)
            .map(|meta| async move {
                if meta.size > 0 {
                    return Ok(Some(meta));
                }
                match self.look(meta.location.as_ref()).await {
                    Ok(looked) => described(&meta.location, looked.headers()).map(Some),
                    Err(failure) if failure.status() == Some(StatusCode::NOT_FOUND) => Ok(None),
                    Err(failure) => Err(failure.about(meta.location.as_ref())),
                }
            })
            .buffered(AT_ONCE)
            .try_collect::<Vec<Option<ObjectMeta>>>()
            .await?;
        Ok(PaginatedListResult {
            result: ListResult {
                common_prefixes: directories,
                objects: objects.into_iter().flatten().collect(),
                extensions: Default::default(),
            },
            page_token,
        })
    }
}
