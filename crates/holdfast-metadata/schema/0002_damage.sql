-- Damaged blobs, and when each blob was last read and found to be what its digest says.
--
-- blobs.state has a third value: 2 damaged. The bytes are missing or wrong; the links stay, and a push of
-- the same digest makes the blob live again under a new key.

-- 0: never since it is in this database.
ALTER TABLE blobs ADD COLUMN verified_at BIGINT NOT NULL DEFAULT 0;
CREATE INDEX blobs_verified ON blobs (verified_at, digest) WHERE state = 0;
