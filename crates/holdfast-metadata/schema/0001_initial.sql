-- Repositories, content, uploads and the queues of garbage collection.
--
-- Written in PostgreSQL's types; src/migrations.rs says how the same text loads into SQLite:
-- {TABLE} and {CLUSTERED} end a table, {BYTE ORDER} makes a text compare by its bytes.
-- Times are microseconds since 1970 in UTC, booleans 0 or 1, ids 64 bits, ordered by time and made by
-- the server. A digest is its algorithm's code in one byte, then the hash.

-- Groups of repositories. Until namespaces are administered, everything is in the one with id 0.
CREATE TABLE namespaces (
  id BIGINT PRIMARY KEY,
  parent_id BIGINT REFERENCES namespaces (id),
  path TEXT {BYTE ORDER} NOT NULL UNIQUE,
  created_at BIGINT NOT NULL
) {TABLE};
INSERT INTO namespaces (id, parent_id, path, created_at) VALUES (0, NULL, '', 0);

-- population: 0 never had a manifest, 1 has one, 2 had one.
CREATE TABLE repositories (
  id BIGINT PRIMARY KEY,
  namespace_id BIGINT NOT NULL REFERENCES namespaces (id),
  path TEXT {BYTE ORDER} NOT NULL,
  population SMALLINT NOT NULL DEFAULT 0,
  created_at BIGINT NOT NULL,
  deleted_at BIGINT
) {TABLE};
CREATE UNIQUE INDEX repositories_path ON repositories (path) WHERE deleted_at IS NULL;
CREATE INDEX repositories_catalog ON repositories (path) WHERE population = 1 AND deleted_at IS NULL;
CREATE INDEX repositories_namespace ON repositories (namespace_id, path);

-- The bytes behind a digest. state: 0 live, 1 doomed. A storage key serves one incarnation and is
-- never used again once it has been in gc_object_outbox.
CREATE TABLE blobs (
  digest BYTEA PRIMARY KEY,
  size_bytes BIGINT NOT NULL,
  state SMALLINT NOT NULL,
  storage_key TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  state_at BIGINT NOT NULL
) {TABLE};
CREATE INDEX blobs_doomed ON blobs (state_at) WHERE state <> 0;

-- Which repository has which blob. used: 1 while a manifest names it; else lease_until protects it.
CREATE TABLE repo_blobs (
  repo_id BIGINT NOT NULL REFERENCES repositories (id),
  digest BYTEA NOT NULL REFERENCES blobs (digest),
  used SMALLINT NOT NULL DEFAULT 0,
  lease_until BIGINT NOT NULL,
  PRIMARY KEY (repo_id, digest)
) {CLUSTERED};
CREATE INDEX repo_blobs_digest ON repo_blobs (digest, repo_id);
CREATE INDEX repo_blobs_unused ON repo_blobs (lease_until) WHERE used = 0;

-- The payload stands last, so that reading the other columns never touches its overflow pages.
CREATE TABLE manifests (
  repo_id BIGINT NOT NULL REFERENCES repositories (id),
  id BIGINT NOT NULL,
  digest BYTEA NOT NULL,
  media_type TEXT NOT NULL,
  artifact_type TEXT,
  subject_digest BYTEA,
  annotations TEXT,
  image_size BIGINT NOT NULL,
  pushed_by BIGINT,
  pushed_at BIGINT NOT NULL,
  payload BYTEA NOT NULL,
  PRIMARY KEY (repo_id, id),
  UNIQUE (repo_id, digest)
) {TABLE};
CREATE INDEX manifests_referrers ON manifests (repo_id, subject_digest, digest)
  WHERE subject_digest IS NOT NULL;
CREATE INDEX manifests_referrers_by_type ON manifests (repo_id, subject_digest, artifact_type, digest)
  WHERE subject_digest IS NOT NULL;

-- What a manifest needs. The second foreign key is what makes a pull safe: a link in use cannot go.
CREATE TABLE manifest_blobs (
  repo_id BIGINT NOT NULL,
  manifest_id BIGINT NOT NULL,
  position INTEGER NOT NULL,
  digest BYTEA NOT NULL,
  media_type TEXT NOT NULL,
  size_bytes BIGINT NOT NULL,
  PRIMARY KEY (repo_id, manifest_id, position),
  FOREIGN KEY (repo_id, manifest_id) REFERENCES manifests (repo_id, id) ON DELETE CASCADE,
  FOREIGN KEY (repo_id, digest) REFERENCES repo_blobs (repo_id, digest)
) {CLUSTERED};
CREATE INDEX manifest_blobs_digest ON manifest_blobs (repo_id, digest);

-- What a manifest names and the repository did not have when it was accepted (layers kept elsewhere,
-- sparse content). Linking such a blob later moves its rows into manifest_blobs.
CREATE TABLE manifest_missing_blobs (
  repo_id BIGINT NOT NULL,
  manifest_id BIGINT NOT NULL,
  position INTEGER NOT NULL,
  digest BYTEA NOT NULL,
  media_type TEXT NOT NULL,
  size_bytes BIGINT NOT NULL,
  PRIMARY KEY (repo_id, manifest_id, position),
  FOREIGN KEY (repo_id, manifest_id) REFERENCES manifests (repo_id, id) ON DELETE CASCADE
) {CLUSTERED};
CREATE INDEX manifest_missing_blobs_digest ON manifest_missing_blobs (repo_id, digest);

-- A child may be absent: a sparse index.
CREATE TABLE manifest_children (
  repo_id BIGINT NOT NULL,
  parent_id BIGINT NOT NULL,
  child_digest BYTEA NOT NULL,
  platform TEXT,
  PRIMARY KEY (repo_id, parent_id, child_digest),
  FOREIGN KEY (repo_id, parent_id) REFERENCES manifests (repo_id, id) ON DELETE CASCADE
) {CLUSTERED};
CREATE INDEX manifest_children_child ON manifest_children (repo_id, child_digest);

CREATE TABLE tags (
  repo_id BIGINT NOT NULL,
  name TEXT {BYTE ORDER} NOT NULL,
  manifest_id BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  updated_by BIGINT,
  PRIMARY KEY (repo_id, name),
  FOREIGN KEY (repo_id, manifest_id) REFERENCES manifests (repo_id, id)
) {CLUSTERED};
CREATE INDEX tags_manifest ON tags (repo_id, manifest_id);

-- reason: 0 push, 1 delete.
CREATE TABLE tag_history (
  id BIGINT PRIMARY KEY,
  repo_id BIGINT NOT NULL,
  name TEXT {BYTE ORDER} NOT NULL,
  old_digest BYTEA,
  new_digest BYTEA,
  actor_id BIGINT,
  reason SMALLINT NOT NULL,
  at BIGINT NOT NULL
) {TABLE};
CREATE INDEX tag_history_tag ON tag_history (repo_id, name, id DESC);

-- Deleted manifests, kept for the grace period so that a deletion can be undone.
CREATE TABLE manifest_trash (
  repo_id BIGINT NOT NULL,
  digest BYTEA NOT NULL,
  media_type TEXT NOT NULL,
  deleted_at BIGINT NOT NULL,
  purge_at BIGINT NOT NULL,
  payload BYTEA NOT NULL,
  PRIMARY KEY (repo_id, digest)
) {TABLE};
CREATE INDEX manifest_trash_due ON manifest_trash (purge_at);

-- Upload sessions. algorithm: the code of the digest algorithm the client announced.
CREATE TABLE uploads (
  id TEXT {BYTE ORDER} PRIMARY KEY,
  repo_id BIGINT NOT NULL REFERENCES repositories (id),
  storage_key TEXT NOT NULL,
  algorithm SMALLINT,
  offset_bytes BIGINT NOT NULL DEFAULT 0,
  hash_state BYTEA,
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL
) {TABLE};
CREATE INDEX uploads_expiry ON uploads (expires_at);

-- Manifests to look at again. reason: 0 a parent went, 1 its subject went, 2 its subject never came.
CREATE TABLE gc_manifest_queue (
  repo_id BIGINT NOT NULL,
  digest BYTEA NOT NULL,
  due_at BIGINT NOT NULL,
  attempts SMALLINT NOT NULL DEFAULT 0,
  reason SMALLINT NOT NULL,
  PRIMARY KEY (repo_id, digest)
) {CLUSTERED};
CREATE INDEX gc_manifest_due ON gc_manifest_queue (due_at);

-- Links that may no longer be needed.
CREATE TABLE gc_link_queue (
  repo_id BIGINT NOT NULL,
  digest BYTEA NOT NULL,
  due_at BIGINT NOT NULL,
  attempts SMALLINT NOT NULL DEFAULT 0,
  PRIMARY KEY (repo_id, digest)
) {CLUSTERED};
CREATE INDEX gc_link_due ON gc_link_queue (due_at);

-- Blobs that may have lost their last link.
CREATE TABLE gc_blob_queue (
  digest BYTEA PRIMARY KEY,
  due_at BIGINT NOT NULL,
  attempts SMALLINT NOT NULL DEFAULT 0
) {CLUSTERED};
CREATE INDEX gc_blob_due ON gc_blob_queue (due_at);

-- Storage keys whose bytes are to be deleted, outside any transaction.
CREATE TABLE gc_object_outbox (
  storage_key TEXT PRIMARY KEY,
  digest BYTEA,
  size_bytes BIGINT,
  not_before BIGINT NOT NULL,
  attempts SMALLINT NOT NULL DEFAULT 0
) {CLUSTERED};
CREATE INDEX gc_object_due ON gc_object_outbox (not_before);

-- Facts about this installation, such as its generated secrets.
CREATE TABLE settings (
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL
) {CLUSTERED};
