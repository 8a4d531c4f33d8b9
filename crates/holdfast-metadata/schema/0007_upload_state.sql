-- What a storage driver needs to go on with an upload on any node.

-- backend_state: the driver's own text, saved with offset and hash. doubtful: 1 from before a request hands
-- over bytes until its outcome is saved, so the storage may hold something that backend_state does not name.
ALTER TABLE uploads ADD COLUMN backend_state TEXT;
ALTER TABLE uploads ADD COLUMN doubtful SMALLINT NOT NULL DEFAULT 0;
