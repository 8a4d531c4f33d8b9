//! A service in memory that counts requests and lets one of them fail.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::list::{PaginatedListOptions, PaginatedListResult, PaginatedListStore};
use object_store::memory::InMemory;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartId, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use crate::cloud::multiparts::{Multipart, Multiparts};

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Put,
    Head,
    Get,
    Create,
    Part,
    Complete,
    Abort,
    Delete,
    Copy,
    List,
}

#[derive(Debug, Default)]
struct Notes {
    requests: Vec<Kind>,
    /// Which of the next requests fails, counted from 0.
    failing: Option<usize>,
    /// Whether it has its effect all the same.
    effective: bool,
    failed: bool,
    /// Whether the completion of a multipart upload is acknowledged and not made.
    feigning: bool,
    /// Multipart uploads that were begun and not ended.
    unfinished: HashMap<MultipartId, String>,
}

#[derive(Debug)]
pub(super) struct Fake {
    inner: InMemory,
    notes: Mutex<Notes>,
}

impl Fake {
    pub(super) fn new() -> Arc<Fake> {
        Arc::new(Fake {
            inner: InMemory::new(),
            notes: Mutex::default(),
        })
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap()
    }

    /// Counts from nothing again.
    pub(super) fn forget(&self) {
        self.notes().requests.clear();
    }

    /// How many requests of each kind there were, in the order of the kinds.
    pub(super) fn requests(&self) -> Vec<(Kind, usize)> {
        let mut counted = BTreeMap::new();
        for kind in &self.notes().requests {
            *counted.entry(*kind).or_default() += 1;
        }
        counted.into_iter().collect()
    }

    pub(super) fn count(&self, kind: Kind) -> usize {
        let notes = self.notes();
        notes.requests.iter().filter(|made| **made == kind).count()
    }

    /// Lets one of the next requests fail.
    pub(super) fn fail(&self, request: usize, effective: bool) {
        let mut notes = self.notes();
        (notes.failing, notes.effective) = (Some(request), effective);
    }

    /// From now on nothing fails.
    pub(super) fn heal(&self) {
        self.notes().failing = None;
    }

    /// From now on multipart uploads are said to be objects and are not.
    pub(super) fn feign_completions(&self) {
        self.notes().feigning = true;
    }

    pub(super) fn has_failed(&self) -> bool {
        self.notes().failed
    }

    pub(super) fn unfinished(&self) -> usize {
        self.notes().unfinished.len()
    }

    /// Every object.
    pub(super) fn names(&self) -> Vec<String> {
        let listed = self.inner.list(None).try_collect::<Vec<_>>();
        let listed = futures_util::FutureExt::now_or_never(listed);
        let listed = listed.expect("memory does not wait").unwrap();
        listed
            .into_iter()
            .map(|meta| meta.location.into())
            .collect()
    }

    /// Notes a request; whether it fails, and then whether it has its effect.
    fn begin(&self, kind: Kind) -> Option<bool> {
        let mut notes = self.notes();
        notes.requests.push(kind);
        match notes.failing {
            Some(0) => {
                notes.failing = None;
                notes.failed = true;
                Some(notes.effective)
            }
            left => {
                notes.failing = left.map(|left| left - 1);
                None
            }
        }
    }

    async fn request<T>(&self, kind: Kind, effect: impl Future<Output = Result<T>>) -> Result<T> {
        match self.begin(kind) {
            None => effect.await,
            Some(effective) => {
                if effective {
                    effect.await?;
                }
                Err(failure())
            }
        }
    }
}

fn failure() -> Error {
    Error::Generic {
        store: "fake",
        source: "a failure was asked for".into(),
    }
}

impl fmt::Display for Fake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a service in memory")
    }
}

#[async_trait]
impl ObjectStore for Fake {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        self.request(Kind::Put, self.inner.put_opts(location, payload, opts))
            .await
    }

    async fn put_multipart_opts(
        &self,
        _location: &Path,
        _opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        unreachable!("multipart uploads are made by id")
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let kind = if options.head { Kind::Head } else { Kind::Get };
        self.request(kind, self.inner.get_opts(location, options))
            .await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        match self.begin(Kind::Delete) {
            None => self.inner.delete_stream(locations),
            Some(effective) => {
                let gone = effective.then(|| self.inner.delete_stream(locations));
                let gone = futures_util::stream::iter(gone).flatten();
                gone.chain(futures_util::stream::iter([Err(failure())]))
                    .boxed()
            }
        }
    }

    fn list(&self, _prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        unreachable!("lists are read in pages")
    }

    async fn list_with_delimiter(&self, _prefix: Option<&Path>) -> Result<ListResult> {
        unreachable!("lists are read in pages")
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.request(Kind::Copy, self.inner.copy_opts(from, to, options))
            .await
    }
}

#[async_trait]
impl MultipartStore for Fake {
    async fn create_multipart(&self, path: &Path) -> Result<MultipartId> {
        let created = async {
            let id = self.inner.create_multipart(path).await?;
            self.notes().unfinished.insert(id.clone(), path.to_string());
            Ok(id)
        };
        self.request(Kind::Create, created).await
    }

    async fn put_part(
        &self,
        path: &Path,
        id: &MultipartId,
        part_idx: usize,
        data: PutPayload,
    ) -> Result<PartId> {
        let put = self.inner.put_part(path, id, part_idx, data);
        self.request(Kind::Part, put).await
    }

    async fn complete_multipart(
        &self,
        path: &Path,
        id: &MultipartId,
        parts: Vec<PartId>,
    ) -> Result<PutResult> {
        let feigning = self.notes().feigning;
        let completed = async {
            if feigning {
                return Ok(PutResult {
                    e_tag: None,
                    version: None,
                    extensions: Default::default(),
                });
            }
            let done = self.inner.complete_multipart(path, id, parts).await?;
            self.notes().unfinished.remove(id);
            Ok(done)
        };
        self.request(Kind::Complete, completed).await
    }

    async fn abort_multipart(&self, path: &Path, id: &MultipartId) -> Result<()> {
        let aborted = async {
            self.notes().unfinished.remove(id);
            self.inner.abort_multipart(path, id).await
        };
        self.request(Kind::Abort, aborted).await
    }
}

#[async_trait]
impl Multiparts for Fake {
    async fn list(&self, prefix: &str, most: usize) -> crate::Result<Vec<Multipart>> {
        let notes = self.notes();
        let found = notes.unfinished.iter().map(|(id, name)| Multipart {
            name: name.clone(),
            id: id.clone(),
        });
        Ok(found
            .filter(|found| found.name.starts_with(prefix))
            .take(most)
            .collect())
    }
}

#[async_trait]
impl PaginatedListStore for Fake {
    async fn list_paginated(
        &self,
        prefix: Option<&str>,
        opts: PaginatedListOptions,
    ) -> Result<PaginatedListResult> {
        self.request(Kind::List, self.page(prefix.unwrap_or_default(), opts))
            .await
    }
}

impl Fake {
    async fn page(&self, prefix: &str, opts: PaginatedListOptions) -> Result<PaginatedListResult> {
        let mut all: Vec<ObjectMeta> = self.inner.list(None).try_collect().await?;
        all.sort_by(|one, two| one.location.cmp(&two.location));
        let after = opts.page_token.unwrap_or_default();
        let most = opts.max_keys.unwrap_or(usize::MAX);
        let (mut result, mut last) = (
            ListResult {
                common_prefixes: Vec::new(),
                objects: Vec::new(),
                extensions: Default::default(),
            },
            String::new(),
        );
        for meta in all {
            let Some(name) = meta.location.as_ref().strip_prefix(prefix) else {
                continue;
            };
            let directory = opts.delimiter.as_ref().and_then(|_| name.split_once('/'));
            let entry = match directory {
                Some((directory, _)) => format!("{prefix}{directory}/"),
                None => meta.location.to_string(),
            };
            if entry <= after || entry == last {
                continue;
            }
            if result.objects.len() + result.common_prefixes.len() == most {
                let page_token = Some(last);
                return Ok(PaginatedListResult { result, page_token });
            }
            match directory {
                Some(_) => result.common_prefixes.push(Path::from(entry.as_str())),
                None => result.objects.push(meta),
            }
            last = entry;
        }
        Ok(PaginatedListResult {
            result,
            page_token: None,
        })
    }
}
