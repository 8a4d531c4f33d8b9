-- What garbage collection did, and what it must know.
--
-- gc_manifest_queue.reason, from now on also: 3 it lost its last tag, or never had one.

-- day: days since 1970 in UTC. kind: 0 manifests deleted, 1 links removed, 2 blobs given up,
-- 3 objects deleted, with their bytes.
CREATE TABLE gc_history (
  day BIGINT NOT NULL,
  kind SMALLINT NOT NULL,
  items BIGINT NOT NULL,
  size_bytes BIGINT NOT NULL,
  PRIMARY KEY (day, kind)
) {CLUSTERED};

-- When a manifest was last pulled; written only while a policy asks for it, and at most once an hour.
CREATE TABLE last_pulls (
  repo_id BIGINT NOT NULL,
  digest BYTEA NOT NULL,
  pulled_at BIGINT NOT NULL,
  PRIMARY KEY (repo_id, digest)
) {CLUSTERED};
