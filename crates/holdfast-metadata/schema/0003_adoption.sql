-- Adoption of a tree that another registry wrote: how far the walk over it has come, and what it found.

-- One row once there was something to adopt. stage: 0 names, 1 blobs, 2 repositories, 3 settling, 4 done.
-- cursor: how far the stage is. hold_until: garbage collection may take nothing before, set when done.
CREATE TABLE adoption (
  id SMALLINT PRIMARY KEY CHECK (id = 1),
  stage SMALLINT NOT NULL,
  cursor TEXT NOT NULL DEFAULT '',
  verify SMALLINT NOT NULL,
  started_at BIGINT NOT NULL,
  done_at BIGINT,
  hold_until BIGINT,
  repositories BIGINT NOT NULL DEFAULT 0,
  repositories_done BIGINT NOT NULL DEFAULT 0,
  blobs BIGINT NOT NULL DEFAULT 0,
  blob_bytes BIGINT NOT NULL DEFAULT 0,
  links BIGINT NOT NULL DEFAULT 0,
  manifests BIGINT NOT NULL DEFAULT 0,
  tags BIGINT NOT NULL DEFAULT 0,
  problems BIGINT NOT NULL DEFAULT 0
) {TABLE};

-- The repositories found. state: 0 waits, 1 done. populated: 1 if it has manifests. seen_at: when the last
-- walk over it began; since: what is older than this was looked at by the walk before.
CREATE TABLE adoption_repositories (
  path TEXT {BYTE ORDER} PRIMARY KEY,
  state SMALLINT NOT NULL DEFAULT 0,
  populated SMALLINT NOT NULL,
  since BIGINT,
  seen_at BIGINT
) {CLUSTERED};
CREATE INDEX adoption_waiting ON adoption_repositories (path) WHERE state = 0;
CREATE INDEX adoption_catalog ON adoption_repositories (path) WHERE state = 0 AND populated = 1;

-- What is not as it should be. place: the path or digest that tells it from others of its kind.
-- digest: the content concerned; manifest: the one that needs it.
CREATE TABLE adoption_problems (
  repository TEXT {BYTE ORDER} NOT NULL,
  kind SMALLINT NOT NULL,
  place TEXT {BYTE ORDER} NOT NULL,
  tag TEXT,
  digest BYTEA,
  manifest BYTEA,
  detail TEXT NOT NULL,
  found_at BIGINT NOT NULL,
  PRIMARY KEY (repository, kind, place)
) {CLUSTERED};
CREATE INDEX adoption_problems_digest ON adoption_problems (digest, kind) WHERE digest IS NOT NULL;

-- Upload directories that the other registry left behind.
CREATE TABLE adoption_uploads (
  directory TEXT {BYTE ORDER} PRIMARY KEY,
  started_at BIGINT NOT NULL
) {CLUSTERED};
CREATE INDEX adoption_uploads_age ON adoption_uploads (started_at);
