//! Listings, a page at a time.

use std::sync::Arc;

use async_trait::async_trait;
use holdfast_model::Timestamp;

use super::Shared;
use super::bucket::Found;
use crate::{LISTED_AT_ONCE, Listed, Listing, Result, StorageKey};

pub(super) struct Entries {
    shared: Arc<Shared>,
    prefix: String,
    recursive: bool,
    next: Next,
}

enum Next {
    First,
    Page(String),
    End,
}

impl Entries {
    pub(super) fn new(shared: &Arc<Shared>, directory: &StorageKey, recursive: bool) -> Entries {
        Entries {
            shared: Arc::clone(shared),
            prefix: format!("{directory}/"),
            recursive,
            next: Next::First,
        }
    }
}

#[async_trait]
impl Listing for Entries {
    async fn next(&mut self) -> Result<Vec<Listed>> {
        loop {
            let token = match std::mem::replace(&mut self.next, Next::End) {
                Next::First => None,
                Next::Page(token) => Some(token),
                Next::End => return Ok(Vec::new()),
            };
            let bucket = &self.shared.bucket;
            let page = bucket
                .list(&self.prefix, self.recursive, token, LISTED_AT_ONCE)
                .await?;
            if let Some(token) = page.next {
                self.next = Next::Page(token);
            }
            let below = |name: &String| name.starts_with(&self.prefix);
            let directories = page.directories.into_iter().filter(below);
            let objects = page.objects.into_iter();
            let entries: Vec<Listed> = directories
                .map(directory)
                .chain(objects.filter(|found| below(&found.name)).map(object))
                .collect();
            if !entries.is_empty() {
                return Ok(entries);
            }
        }
    }
}

fn directory(path: String) -> Listed {
    match path.parse() {
        Ok(key) => Listed::Directory { key },
        Err(_) => Listed::Foreign { path },
    }
}

fn object(found: Found) -> Listed {
    match found.name.parse() {
        Ok(key) => Listed::Object {
            key,
            size: found.meta.size,
            modified: Some(Timestamp::from_micros(
                found.meta.last_modified.timestamp_micros(),
            )),
        },
        Err(_) => Listed::Foreign { path: found.name },
    }
}
