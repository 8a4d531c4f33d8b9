//! What a request asks for, parsed once.
//!
//! Authorization, the log and the handlers all read this one value (invariant V7), so none of them can
//! disagree about what was asked.

use holdfast_model::{Algorithm, Digest, Reference, RepositoryName, Tag, UploadId};

use crate::access::Permission;
use crate::metrics::requests::Handler;

/// One thing a client may ask of the `/v2/` API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// `/v2/`: is this a registry, and am I logged in?
    Base,
    /// `GET /v2/_catalog`
    Catalog(Page),
    /// `GET /v2/<name>/tags/list`
    ListTags(RepositoryName, Page),
    /// `GET /v2/<name>/referrers/<digest>`
    ListReferrers {
        /// Where.
        repository: RepositoryName,
        /// The manifest the referrers are about.
        subject: Digest,
        /// Only referrers of this type.
        artifact_type: Option<String>,
        /// Continue after this digest.
        after: Option<Digest>,
    },
    /// `GET` or `HEAD /v2/<name>/manifests/<reference>`
    PullManifest(RepositoryName, Reference),
    /// `PUT /v2/<name>/manifests/<reference>?tag=…`
    PushManifest {
        /// Where.
        repository: RepositoryName,
        /// Tag or digest in the path.
        reference: Reference,
        /// Tags in the query.
        tags: Vec<Tag>,
    },
    /// `DELETE /v2/<name>/manifests/<reference>`
    DeleteManifest(RepositoryName, Reference),
    /// `GET` or `HEAD /v2/<name>/blobs/<digest>`
    PullBlob(RepositoryName, Digest),
    /// `DELETE /v2/<name>/blobs/<digest>`
    DeleteBlob(RepositoryName, Digest),
    /// `POST /v2/<name>/blobs/uploads/`
    StartUpload(RepositoryName, Algorithm),
    /// `POST /v2/<name>/blobs/uploads/?digest=<digest>`
    PushBlob(RepositoryName, Digest),
    /// `POST /v2/<name>/blobs/uploads/?mount=<digest>[&from=<name>]`
    MountBlob {
        /// Into which repository.
        repository: RepositoryName,
        /// Which blob.
        digest: Digest,
        /// From which repository; from any that the caller may read when absent.
        from: Option<RepositoryName>,
    },
    /// `GET` or `HEAD` on an upload session.
    UploadStatus(RepositoryName, UploadId),
    /// `PATCH` on an upload session.
    AppendChunk(RepositoryName, Session),
    /// `PUT` on an upload session, `?digest=<digest>`.
    FinishUpload(RepositoryName, Session, Digest),
    /// `DELETE` on an upload session.
    CancelUpload(RepositoryName, Session),
}

/// An upload session, and the proof that this registry opened it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Which session.
    pub id: UploadId,
    /// The `_state` that stood in its `Location`; empty when the client did not bring it.
    pub state: String,
}

/// A page of a list: from the query parameters `n` and `last`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// How many entries the client wants.
    pub limit: Option<u64>,
    /// The last entry the client has seen.
    pub after: Option<String>,
}

impl Action {
    /// What the caller must be allowed to do. A mount also needs its source, which the mount itself asks for.
    pub fn permission(&self) -> Permission<'_> {
        use Action::*;
        match self {
            Base => Permission::LogIn,
            Catalog(_) => Permission::Catalog,
            ListTags(name, _) | PullManifest(name, _) | PullBlob(name, _) => Permission::Pull(name),
            ListReferrers { repository, .. } => Permission::Pull(repository),
            PushManifest { repository, .. } | MountBlob { repository, .. } => {
                Permission::Push(repository)
            }
            // The answer to a status tells how to write to the session.
            StartUpload(name, _)
            | UploadStatus(name, _)
            | PushBlob(name, _)
            | AppendChunk(name, _)
            | FinishUpload(name, ..) => Permission::Push(name),
            DeleteManifest(name, _) | DeleteBlob(name, _) | CancelUpload(name, _) => {
                Permission::Delete(name)
            }
        }
    }

    /// A short name for logs.
    pub fn name(&self) -> &'static str {
        use Action::*;
        match self {
            Base => "base",
            Catalog(_) => "catalog",
            ListTags(..) => "list_tags",
            ListReferrers { .. } => "list_referrers",
            PullManifest(..) => "pull_manifest",
            PushManifest { .. } => "push_manifest",
            DeleteManifest(..) => "delete_manifest",
            PullBlob(..) => "pull_blob",
            DeleteBlob(..) => "delete_blob",
            StartUpload(..) => "start_upload",
            PushBlob(..) => "push_blob",
            MountBlob { .. } => "mount_blob",
            UploadStatus(..) => "upload_status",
            AppendChunk(..) => "append_chunk",
            FinishUpload(..) => "finish_upload",
            CancelUpload(..) => "cancel_upload",
        }
    }

    /// What it is about, for metrics.
    pub(crate) fn handler(&self) -> Handler {
        use Action::*;
        match self {
            Base => Handler::Base,
            Catalog(_) => Handler::Catalog,
            ListTags(..) => Handler::Tags,
            ListReferrers { .. } => Handler::Referrers,
            PullManifest(..) | PushManifest { .. } | DeleteManifest(..) => Handler::Manifest,
            PullBlob(..) | DeleteBlob(..) => Handler::Blob,
            StartUpload(..) | PushBlob(..) | MountBlob { .. } => Handler::BlobUpload,
            UploadStatus(..) | AppendChunk(..) | FinishUpload(..) | CancelUpload(..) => {
                Handler::BlobUploadChunk
            }
        }
    }

    /// Whether it carries the bytes of a blob, and may take as long as they need.
    pub fn moves_blob(&self) -> bool {
        use Action::*;
        matches!(
            self,
            PullBlob(..) | PushBlob(..) | AppendChunk(..) | FinishUpload(..)
        )
    }

    /// The repository it is about.
    pub fn repository(&self) -> Option<&RepositoryName> {
        match self.permission() {
            Permission::LogIn | Permission::Catalog => None,
            Permission::Pull(name) | Permission::Push(name) | Permission::Delete(name) => {
                Some(name)
            }
        }
    }
}
