-- What a deleted manifest named and the repository did not have at that time: bringing the manifest
-- back neither needs nor links it.
CREATE TABLE manifest_trash_missing (
  repo_id BIGINT NOT NULL,
  manifest_digest BYTEA NOT NULL,
  digest BYTEA NOT NULL,
  PRIMARY KEY (repo_id, manifest_digest, digest),
  FOREIGN KEY (repo_id, manifest_digest) REFERENCES manifest_trash (repo_id, digest) ON DELETE CASCADE
) {CLUSTERED};
