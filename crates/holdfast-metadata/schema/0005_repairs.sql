-- What a check repaired, with the way back, and the manifests of a digest whatever their repository.

-- undo: statements that put back what was there, in the engine's own SQL. The last repair is undone first.
CREATE TABLE repair_journal (
  id BIGINT PRIMARY KEY,
  at BIGINT NOT NULL,
  repair TEXT NOT NULL,
  subject TEXT NOT NULL,
  undo TEXT NOT NULL
) {TABLE};

CREATE INDEX manifests_digest ON manifests (digest);
