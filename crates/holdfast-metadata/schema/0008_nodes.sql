-- What several nodes need to keep out of each other's way.

-- version: rises with each request that hands over bytes, so that of two nodes at work on one session only the later
-- one can save or end it.
ALTER TABLE uploads ADD COLUMN version BIGINT NOT NULL DEFAULT 0;

-- Jobs that one node does for all. node: a name that a process makes up at its start. until: it is anybody's then.
CREATE TABLE job_claims (
  job TEXT {BYTE ORDER} PRIMARY KEY,
  node TEXT NOT NULL,
  until BIGINT NOT NULL
) {TABLE};
