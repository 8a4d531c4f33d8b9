//! The statements that read, and by which index: what a look-up costs must not grow with the database, on either
//! engine.

use crate::{
    adoption, blobs, contents, gc, integrity, manifests, referrers, repositories, settings,
    tag_history, tags, uploads,
};

/// Name, statement, and what SQLite's plan says of it.
pub(crate) const READS: &[(&str, &str, &str)] = &[
    (
        "repository",
        repositories::FIND_REPOSITORY,
        "repositories_path (path=?)",
    ),
    (
        "catalog page",
        repositories::CATALOG_PAGE,
        "repositories_catalog (path>?)",
    ),
    (
        "all repositories",
        contents::REPOSITORIES,
        "repositories_path (path>?)",
    ),
    (
        "blobs of a repository",
        contents::BLOBS,
        "(repo_id=? AND digest>?)",
    ),
    (
        "manifests of a repository",
        contents::MANIFESTS,
        "(repo_id=? AND id>?)",
    ),
    (
        "tags with targets",
        contents::TAGS,
        "(repo_id=? AND name>?)",
    ),
    (
        "link of a repository",
        contents::HAS_LINK,
        "(repo_id=? AND digest=?)",
    ),
    ("discarded key", contents::DISCARDED, "(storage_key=?)"),
    ("upload", uploads::FIND_UPLOAD, "(id=?)"),
    (
        "expired uploads",
        uploads::EXPIRED_UPLOADS,
        "uploads_expiry (expires_at<?)",
    ),
    ("uploads page", uploads::UPLOADS_PAGE, "(id>?)"),
    (
        "blob",
        blobs::FIND_LINKED,
        "SEARCH l USING PRIMARY KEY (repo_id=? AND digest=?)",
    ),
    ("key in use", blobs::KEY_IN_USE, "(storage_key=?)"),
    ("live blob", blobs::FIND_LIVE, "(digest=?)"),
    (
        "repositories with a blob",
        blobs::REPOSITORIES_WITH,
        "repo_blobs_digest (digest=?)",
    ),
    (
        "manifest by tag",
        manifests::BY_TAG,
        "SEARCH t USING PRIMARY KEY (repo_id=? AND name=?)",
    ),
    (
        "manifest by tag, kept",
        manifests::BY_TAG_UNLESS_KEPT,
        "SEARCH t USING PRIMARY KEY (repo_id=? AND name=?)",
    ),
    (
        "manifest by digest, kept",
        manifests::BY_DIGEST_UNLESS_KEPT,
        "(repo_id=? AND digest=?)",
    ),
    (
        "manifest by digest",
        manifests::BY_DIGEST,
        "(repo_id=? AND digest=?)",
    ),
    ("tags page", tags::TAGS_PAGE, "(repo_id=? AND name>?)"),
    (
        "tag history",
        tag_history::HISTORY_PAGE,
        "tag_history_tag (repo_id=? AND name=? AND id<?)",
    ),
    (
        "last change of a tag",
        adoption::LAST_CHANGE,
        "tag_history_tag (repo_id=? AND name=?)",
    ),
    (
        "trash page",
        manifests::TRASH_PAGE,
        "(repo_id=? AND digest>?)",
    ),
    (
        "deleted manifest",
        manifests::FIND_TRASHED,
        "(repo_id=? AND digest=?)",
    ),
    (
        "referrers",
        referrers::REFERRERS_PAGE,
        "manifests_referrers (repo_id=? AND subject_digest=? AND digest>?)",
    ),
    (
        "referrers of a type",
        referrers::REFERRERS_PAGE_BY_TYPE,
        "manifests_referrers_by_type (repo_id=? AND subject_digest=? AND artifact_type=? AND digest>?)",
    ),
    (
        "annotations of referrers",
        referrers::ANNOTATIONS_PAGE,
        "manifests_referrers (repo_id=? AND subject_digest=? AND digest>? AND digest<?)",
    ),
    (
        "annotations of referrers of a type",
        referrers::ANNOTATIONS_PAGE_BY_TYPE,
        "manifests_referrers_by_type (repo_id=? AND subject_digest=? AND artifact_type=? AND digest>? AND digest<?)",
    ),
    ("setting", settings::FIND_SETTING, "(name=?)"),
    (
        "repositories with damage",
        integrity::LINKING,
        "repo_blobs_digest (digest=?)",
    ),
    (
        "manifests with damage",
        integrity::NAMING,
        "manifest_blobs_digest (repo_id=? AND digest=?)",
    ),
    (
        "indexes over a manifest",
        integrity::PARENTS,
        "manifest_children_child (repo_id=? AND child_digest=?)",
    ),
    (
        "tags of a manifest",
        integrity::TAGS_OF,
        "tags_manifest (repo_id=? AND manifest_id=?)",
    ),
    ("adoption", adoption::FIND_WALK, "PRIMARY KEY (rowid=?)"),
    ("adoption of a repository", adoption::FIND_STATE, "(path=?)"),
    (
        "waiting repositories",
        adoption::WAITING_PAGE,
        "adoption_waiting (path>?)",
    ),
    (
        "waiting repositories of the catalog",
        adoption::WAITING_CATALOG_PAGE,
        "adoption_catalog (path>?)",
    ),
    ("blob's place", adoption::FIND_BLOB_ROW, "(digest=?)"),
    ("any link", adoption::LINKED, "repo_blobs_digest (digest=?)"),
    ("link", adoption::LINK_ROW, "(repo_id=? AND digest=?)"),
    ("blobs page", adoption::BLOBS_PAGE, "(digest>?)"),
    (
        "manifest row",
        adoption::MANIFEST_ROW,
        "(repo_id=? AND digest=?)",
    ),
    (
        "problems page",
        adoption::PROBLEMS_PAGE,
        "(repository,kind,place)>(?,?,?)",
    ),
    (
        "tags of a manifest",
        adoption::TAGS_OF,
        "tags_manifest (repo_id=? AND manifest_id=?)",
    ),
    (
        "old uploads",
        adoption::DUE_UPLOADS,
        "adoption_uploads_age (started_at<?)",
    ),
    ("blobs to check", integrity::BLOBS_PAGE, "(digest>?)"),
    ("blob to check", integrity::BLOB_ROW, "(digest=?)"),
    ("known key", integrity::KNOWN_KEY, "(storage_key=?)"),
    (
        "known manifest",
        integrity::KNOWN_MANIFEST,
        "manifests_digest (digest=?)",
    ),
    (
        "known problem",
        integrity::KNOWN_PROBLEM,
        "adoption_problems_digest (digest=?)",
    ),
    ("keys of blobs", integrity::BLOB_KEYS, "(digest>?)"),
    (
        "discarded keys",
        integrity::DISCARDED_KEYS,
        "(storage_key>?)",
    ),
    ("known upload", integrity::KNOWN_UPLOAD, "(storage_key=?)"),
    (
        "stalest blobs",
        integrity::STALEST,
        "blobs_verified ((verified_at,digest)>(?,?)",
    ),
    (
        "links to check",
        integrity::LINKS_PAGE,
        "((repo_id,digest)>(?,?))",
    ),
    (
        "manifests to check",
        integrity::KEYS_PAGE,
        "((repo_id,id)>(?,?))",
    ),
    (
        "manifest to check",
        integrity::RECORD,
        "(repo_id=? AND id=?)",
    ),
    (
        "repositories to check",
        integrity::REPOSITORIES_PAGE,
        "(rowid>?)",
    ),
    (
        "tags to check",
        integrity::TAGS_PAGE,
        "((repo_id,name)>(?,?))",
    ),
    (
        "manifests page",
        manifests::MANIFESTS_PAGE,
        "(repo_id=? AND digest>?)",
    ),
    (
        "blobs of a manifest",
        manifests::BLOBS_OF,
        "(repo_id=? AND manifest_id=?)",
    ),
    (
        "due manifests",
        gc::DUE_MANIFESTS,
        "gc_manifest_due (due_at<?)",
    ),
    ("due links", gc::DUE_LINKS, "gc_link_due (due_at<?)"),
    (
        "ended leases",
        gc::ENDED_LEASES,
        "repo_blobs_unused (lease_until<?)",
    ),
    ("due blobs", gc::DUE_BLOBS, "gc_blob_due (due_at<?)"),
    (
        "due objects",
        gc::DUE_OBJECTS,
        "gc_object_due (not_before<?)",
    ),
    ("the collector's history", gc::HISTORY, "(day>?)"),
    (
        "untagged manifests",
        gc::UNTAGGED_PAGE,
        "((repo_id,id)>(?,?))",
    ),
    (
        "why: tags",
        gc::WHY[0],
        "tags_manifest (repo_id=? AND manifest_id=?)",
    ),
    ("why: parents", gc::WHY[1], "(repo_id=? AND child_digest=?)"),
    ("why: subject", gc::WHY[2], "(repo_id=? AND id=?)"),
    ("why: queued", gc::WHY[3], "(repo_id=? AND digest=?)"),
    ("why: users", gc::WHY[4], "(repo_id=? AND digest=?)"),
    ("why: link", gc::WHY[5], "(repo_id=? AND digest=?)"),
    ("why: elsewhere", gc::WHY[6], "repo_blobs_digest (digest=?)"),
    ("why: trash", gc::WHY[7], "(repo_id=? AND digest=?)"),
];
