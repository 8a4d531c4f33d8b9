//! Content whose stored bytes are missing or wrong: how it is noted, found and brought back.
//!
//! Whoever finds damage, a pull, a push, a check or the scrub, calls [`Operations::mark_damaged`]. From then
//! on the blob is never served (`Error::BlobDamaged`), `HEAD` and mounts say that it is absent, and the
//! push that follows brings it back in every repository at once. The file stays where it is until then:
//! there is no moment at which it is neither here nor there, and what was taken for damage by a failing
//! cable is whole again after another reading.

mod check;
mod facts;
mod manifests;
mod objects;
mod report;
mod scrub;
mod strays;
mod uploads;
mod verify;

use std::fmt;
use std::sync::atomic::Ordering;

use holdfast_metadata::Affected;
use holdfast_model::Digest;

use super::{Operations, Result};
use crate::clock;
use crate::error_chain::chain;

pub(crate) use check::CheckOptions;
pub(crate) use report::{Event, Finding, Outcome, Summary};
pub(crate) use scrub::Found;

/// Most repositories, and tags of each, that are named to an operator for one damage.
const AFFECTED_NAMED: usize = 100;

/// What is wrong with stored bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    /// There are none.
    Missing,
    /// They are not as many as they were.
    Size,
    /// They hash to something else.
    Digest,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Damage::Missing => "missing",
            Damage::Size => "of another length than they were",
            Damage::Digest => "not what their digest says",
        })
    }
}

impl Operations {
    /// Notes that the bytes of a live blob are damaged, and tells the operator what that touches; false when
    /// they are not the blob's bytes any more.
    pub(super) async fn mark_damaged(
        &self,
        digest: &Digest,
        key: &str,
        damage: Damage,
    ) -> Result<bool> {
        if !self
            .metadata
            .mark_damaged(digest, key, clock::now())
            .await?
        {
            return Ok(false);
        }
        self.found.damaged.fetch_add(1, Ordering::Relaxed);
        let affected = match self.metadata.affected_by_blob(digest, AFFECTED_NAMED).await {
            Ok(affected) => spelled(&affected),
            Err(error) => format!("unknown: {}", chain(&error)),
        };
        tracing::error!(%digest, key, affected, "stored bytes are {damage}; the next push of this blob brings it back");
        Ok(true)
    }
}

/// `a/b:v1, a/b:v2, c (3 manifests without a tag)`, with an ellipsis when that is not all.
fn spelled(affected: &Affected) -> String {
    let mut names = Vec::new();
    for one in &affected.repositories {
        let repository = &one.repository;
        if one.tags.is_empty() {
            names.push(match one.manifests {
                0 => format!("{repository} (no manifest)"),
                manifests => format!("{repository} ({manifests} manifests without a tag)"),
            });
        }
        names.extend(one.tags.iter().map(|tag| format!("{repository}:{tag}")));
    }
    if affected.more {
        names.push("…".to_owned());
    }
    names.join(", ")
}
