//! A bucket: the few requests that are made of it, with keys in place of paths and errors that say what can be done.
//!
//! Every request is made again, with growing pauses, when the service asks for patience (429, 500, 503) or does
//! not answer, until it has succeeded or the patience of the settings is over. That is safe since each of them may
//! be repeated: a key is written with one content only.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use object_store::list::{PaginatedListOptions, PaginatedListResult, PaginatedListStore};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::signer::{Method, Signer};
use object_store::{
    CopyOptions, GetOptions, GetRange, GetResult, ObjectMeta, ObjectStore, PutOptions, PutPayload,
};

use super::multiparts::{Multipart, Multiparts};
use crate::{Error, LISTED_AT_ONCE, Result, StorageKey, Unfinished};

/// Deletions of single objects and small writes under way at once, for one caller.
const AT_ONCE: usize = 16;
/// How often multipart uploads are looked for at most, to end them.
const SWEEPS_MAX: usize = 5;
/// The largest object that most services copy by themselves in one request.
pub(super) const COPY_BYTES_MAX: u64 = 5 * 1024 * 1024 * 1024;

/// What a service must be able to do.
pub(super) trait Service: ObjectStore + MultipartStore + PaginatedListStore {}

impl<S: ObjectStore + MultipartStore + PaginatedListStore> Service for S {}

/// A bucket, or a container, and the part of it that is ours.
#[derive(Clone)]
pub(super) struct Bucket {
    /// The driver's name in the configuration.
    pub(super) driver: &'static str,
    /// Makes objects: with the headers that only those requests may have.
    pub(super) making: Arc<dyn Service>,
    /// For everything else.
    pub(super) service: Arc<dyn Service>,
    /// Lists. Azure needs a client of its own for names that begin with a slash.
    pub(super) listing: Arc<dyn Service>,
    /// Signs URLs, where that can be done.
    pub(super) signer: Option<Arc<dyn Signer>>,
    /// Finds multipart uploads, where they can be forgotten.
    pub(super) multiparts: Option<Arc<dyn Multiparts>>,
    /// What every name of ours begins with: nothing, or directories and a slash.
    pub(super) root: String,
    /// What names begin with for the lister, before the root.
    pub(super) listed_root: &'static str,
    /// The largest object that the service copies by itself in one request.
    pub(super) copy_bytes_max: u64,
}

/// An object as a listing shows it.
pub(super) struct Found {
    /// Its name below the root.
    pub(super) name: String,
    pub(super) meta: ObjectMeta,
}

/// A page of a listing.
pub(super) struct Page {
    pub(super) objects: Vec<Found>,
    /// Names below the root, without a slash at the end.
    pub(super) directories: Vec<String>,
    /// Where the next page begins; `None` at the end.
    pub(super) next: Option<String>,
}

impl Bucket {
    /// The path of a name below the root. Keys hold nothing that a path would write otherwise.
    fn path(&self, name: &str) -> Path {
        Path::from(format!("{}{name}", self.root))
    }

    pub(super) async fn put(&self, key: &StorageKey, payload: PutPayload) -> Result<()> {
        /// A service that keeps objects as files may miss the directory when a deletion beside the write has just
        /// taken the last object out of it.
        const ATTEMPTS: usize = 4;
        let path = self.path(key.as_str());
        let mut attempt = 1;
        loop {
            let payload = payload.clone();
            let put = self.making.put_opts(&path, payload, PutOptions::default());
            match put.await {
                Ok(_) => return Ok(()),
                Err(object_store::Error::NotFound { .. }) if attempt < ATTEMPTS => attempt += 1,
                Err(error) => return Err(failed("write", key.as_str())(error)),
            }
        }
    }

    /// Size, entity tag and times of an object.
    pub(super) async fn head(&self, key: &StorageKey) -> Result<Option<ObjectMeta>> {
        let options = GetOptions {
            head: true,
            ..GetOptions::default()
        };
        match self
            .service
            .get_opts(&self.path(key.as_str()), options)
            .await
        {
            Ok(found) => Ok(Some(found.meta)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed("look at", key.as_str())(error)),
        }
    }

    /// An object, or a part of it that is not empty, to be read as it comes.
    pub(super) async fn get(
        &self,
        key: &StorageKey,
        range: Option<Range<u64>>,
        e_tag: Option<String>,
    ) -> Result<GetResult> {
        let options = GetOptions {
            range: range.map(GetRange::Bounded),
            if_match: e_tag,
            ..GetOptions::default()
        };
        let path = self.path(key.as_str());
        let got = self.service.get_opts(&path, options);
        got.await.map_err(|error| match error {
            object_store::Error::NotFound { .. } => Error::NotFound(key.clone()),
            error => failed("read", key.as_str())(error),
        })
    }

    /// Deletes objects; those that are not there are gone already.
    pub(super) async fn delete(&self, keys: &[StorageKey]) -> Result<()> {
        let names = keys.iter().map(|key| key.as_str().to_owned()).collect();
        self.delete_names(names).await
    }

    pub(super) async fn delete_names(&self, names: Vec<String>) -> Result<()> {
        if names.is_empty() {
            return Ok(());
        }
        let paths: Vec<_> = names.iter().map(|name| Ok(self.path(name))).collect();
        let mut gone = self.service.delete_stream(stream::iter(paths).boxed());
        let mut outcome = Ok(());
        while let Some(one) = gone.next().await {
            match one {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => outcome = Err(failed("delete", names.join(", "))(error)),
            }
        }
        outcome
    }

    /// Gives an object a second key. The service copies it, or, when it is too large for that, we do.
    pub(super) async fn copy(
        &self,
        from: &StorageKey,
        to: &StorageKey,
        part_bytes: usize,
    ) -> Result<()> {
        let meta = self.head(from).await?;
        let size = meta.ok_or_else(|| Error::NotFound(from.clone()))?.size;
        let (source, target) = (self.path(from.as_str()), self.path(to.as_str()));
        if size <= self.copy_bytes_max {
            let copied = self
                .making
                .copy_opts(&source, &target, CopyOptions::default());
            return copied.await.map_err(|error| match error {
                object_store::Error::NotFound { .. } => Error::NotFound(from.clone()),
                error => failed("copy", from.as_str())(error),
            });
        }
        let id = self.create(to).await?;
        let mut parts = Vec::new();
        let mut offset = 0;
        while offset < size {
            let end = size.min(offset + part_bytes as u64);
            let piece = self.get(from, Some(offset..end), None).await?;
            let piece = piece.bytes().await.map_err(failed("read", from.as_str()))?;
            parts.push(self.part(to, &id, parts.len(), piece.into()).await?);
            offset = end;
        }
        // Swift makes an object of parts only where there is none.
        self.delete(std::slice::from_ref(to)).await?;
        self.complete(to, &id, parts).await
    }

    /// Begins a multipart upload; its id.
    pub(super) async fn create(&self, key: &StorageKey) -> Result<String> {
        let path = self.path(key.as_str());
        let created = self.making.create_multipart(&path);
        created.await.map_err(failed("begin", key.as_str()))
    }

    pub(super) async fn part(
        &self,
        key: &StorageKey,
        id: &String,
        index: usize,
        payload: PutPayload,
    ) -> Result<String> {
        let path = self.path(key.as_str());
        let put = self.service.put_part(&path, id, index, payload);
        let part = put.await.map_err(failed("write a part of", key.as_str()))?;
        Ok(part.content_id)
    }

    pub(super) async fn complete(
        &self,
        key: &StorageKey,
        id: &String,
        parts: Vec<String>,
    ) -> Result<()> {
        let parts = parts
            .into_iter()
            .map(|content_id| PartId { content_id })
            .collect();
        let path = self.path(key.as_str());
        let completed = self.service.complete_multipart(&path, id, parts);
        completed.await.map_err(failed("complete", key.as_str()))?;
        Ok(())
    }

    /// Ends a multipart upload without an object; one that has ended already is success.
    pub(super) async fn abort(&self, name: &str, id: &String) -> Result<()> {
        match self.service.abort_multipart(&self.path(name), id).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed("abort", name)(error)),
        }
    }

    /// A page of the objects whose names begin with `prefix`. With `flat` everything, else what is there up to
    /// the next slash.
    pub(super) async fn list(
        &self,
        prefix: &str,
        flat: bool,
        page_token: Option<String>,
        most: usize,
    ) -> Result<Page> {
        let full = format!("{}{}{prefix}", self.listed_root, self.root);
        let options = PaginatedListOptions {
            delimiter: (!flat).then(|| "/".into()),
            max_keys: Some(most.min(LISTED_AT_ONCE)),
            page_token,
            ..PaginatedListOptions::default()
        };
        let wanted = Some(full.as_str()).filter(|full| !full.is_empty());
        let listed = self.listing.list_paginated(wanted, options).await;
        let PaginatedListResult { result, page_token } = listed.map_err(failed("list", prefix))?;
        let below = |path: &Path| path.as_ref().strip_prefix(&self.root).map(str::to_owned);
        let found = |meta: ObjectMeta| {
            let name = below(&meta.location)?;
            Some(Found { name, meta })
        };
        Ok(Page {
            objects: result.objects.into_iter().filter_map(found).collect(),
            directories: result.common_prefixes.iter().filter_map(below).collect(),
            next: page_token,
        })
    }

    /// Deletes every object and ends every multipart upload whose name begins with `prefix`, except one object.
    pub(super) async fn sweep(&self, prefix: &str, keep: Option<&StorageKey>) -> Result<()> {
        self.abort_all(prefix).await?;
        let mut token = None;
        loop {
            let page = self.list(prefix, true, token, LISTED_AT_ONCE).await?;
            let names = page.objects.into_iter().map(|found| found.name);
            let stray = names.filter(|name| keep.is_none_or(|keep| keep.as_str() != name));
            self.delete_names(stray.collect()).await?;
            token = page.next;
            if token.is_none() {
                return Ok(());
            }
        }
    }

    /// Multipart uploads of objects that are named after uploads, at most so many.
    pub(super) async fn unfinished(&self, most: usize) -> Result<Vec<Unfinished>> {
        let Some(multiparts) = &self.multiparts else {
            return Ok(Vec::new());
        };
        let prefix = format!("{}{}/", self.root, StorageKey::uploads());
        let found = multiparts.list(&prefix, most).await?;
        let ours = |Multipart { name, id }: Multipart| {
            let key: StorageKey = name.strip_prefix(&self.root)?.parse().ok()?;
            Some(Unfinished { key, id })
        };
        Ok(found.into_iter().filter_map(ours).collect())
    }

    /// Ends every multipart upload whose name begins with `prefix`. A part that was on its way when its upload was
    /// ended may still arrive and bring it back, so it is looked again until nothing is found.
    async fn abort_all(&self, prefix: &str) -> Result<()> {
        let Some(multiparts) = &self.multiparts else {
            return Ok(());
        };
        let full = format!("{}{prefix}", self.root);
        for _ in 0..SWEEPS_MAX {
            let found = multiparts.list(&full, LISTED_AT_ONCE).await?;
            if found.is_empty() {
                break;
            }
            stream::iter(found)
                .map(|found| async move {
                    let name = found.name.strip_prefix(&self.root).unwrap_or(&found.name);
                    self.abort(name, &found.id).await
                })
                .buffer_unordered(AT_ONCE)
                .try_collect::<()>()
                .await?;
        }
        Ok(())
    }

    /// A URL at which the object can be read for a while.
    pub(super) async fn signed_url(
        &self,
        key: &StorageKey,
        life: Duration,
    ) -> Result<Option<String>> {
        let Some(signer) = &self.signer else {
            return Ok(None);
        };
        let path = self.path(key.as_str());
        let signed = signer.signed_url(Method::GET, &path, life).await;
        let url = signed.map_err(failed("sign a URL of", key.as_str()))?;
        Ok(Some(url.into()))
    }

    /// Puts many small objects, some at a time.
    pub(super) async fn put_all(&self, objects: Vec<(StorageKey, Bytes)>) -> Result<()> {
        stream::iter(objects)
            .map(|(key, bytes)| async move { self.put(&key, bytes.into()).await })
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await
    }
}

/// Turns a failed request into its error, as `map_err(failed("write", key))`.
///
/// What the service refuses for good is [`Unavailable`](Error::Unavailable). Anything else may pass: the service has
/// been asked more than once by now, and the client is told to come back later.
pub(super) fn failed(
    operation: &'static str,
    subject: impl Into<String>,
) -> impl FnOnce(object_store::Error) -> Error {
    use object_store::Error as E;
    move |error| {
        let subject = subject.into();
        if is_full(&error.to_string()) {
            let source = io::Error::new(io::ErrorKind::StorageFull, error);
            return Error::io(operation, subject, source);
        }
        let passes = matches!(error, E::Generic { .. });
        let source = io::Error::other(error);
        if passes {
            Error::Overloaded {
                operation,
                subject,
                source,
            }
        } else {
            Error::io(operation, subject, source)
        }
    }
}

/// Whether a service says that no room is left. Buckets of the large providers have no end; quotas and disks of
/// one's own do.
fn is_full(answer: &str) -> bool {
    [
        "507 Insufficient Storage",
        "QuotaExceeded",
        "StorageFull",
        "exceeds quota",
    ]
    .iter()
    .any(|word| answer.contains(word))
}
