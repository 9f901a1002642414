-- The schema of format 1, as files of it have it.
PRAGMA journal_mode = WAL;
PRAGMA application_id = 0x574B5253;
PRAGMA user_version = 1;
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT;
INSERT INTO meta VALUES ('boot', 0);

CREATE TABLE specs (
    job TEXT PRIMARY KEY,
    digest TEXT NOT NULL,
    payload BLOB NOT NULL -- JSON, exactly the bytes that travel
) STRICT;

CREATE TABLE records (
    job TEXT PRIMARY KEY,
    state TEXT NOT NULL, -- queued, running, cancelling, or the verdict; for queries
    epoch INTEGER NOT NULL,
    holder TEXT,
    decided TEXT, -- digest of the decided outcome
    decided_wall REAL, -- unix time at which this node noted the decision
    body TEXT NOT NULL -- the record as JSON; the columns before repeat parts of it
) STRICT, WITHOUT ROWID;

CREATE TABLE history (
    id INTEGER PRIMARY KEY,
    wall REAL NOT NULL,
    event TEXT NOT NULL,
    job TEXT,
    facts TEXT NOT NULL -- JSON
) STRICT;

CREATE TABLE retired (
    job TEXT PRIMARY KEY,
    request TEXT NOT NULL, -- digest of what the device sent; '' when the spec never came
    outcome TEXT NOT NULL,
    wall REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX retired_wall ON retired (wall);

CREATE TRIGGER records_retired BEFORE INSERT ON records
WHEN EXISTS (SELECT 1 FROM retired WHERE job = NEW.job)
BEGIN SELECT RAISE(ABORT, 'a retired job would come back'); END;

CREATE TRIGGER records_fence BEFORE UPDATE ON records
WHEN NEW.epoch < OLD.epoch
BEGIN SELECT RAISE(ABORT, 'the epoch of a record would go back'); END;

CREATE TRIGGER records_decided BEFORE UPDATE ON records
WHEN OLD.decided IS NOT NULL AND NEW.decided IS NOT OLD.decided
BEGIN SELECT RAISE(ABORT, 'a decision would change'); END;

CREATE TRIGGER records_kept BEFORE DELETE ON records
WHEN OLD.decided IS NULL
BEGIN SELECT RAISE(ABORT, 'an undecided job would be forgotten'); END;

CREATE TRIGGER specs_retired BEFORE INSERT ON specs
WHEN EXISTS (SELECT 1 FROM retired WHERE job = NEW.job)
BEGIN SELECT RAISE(ABORT, 'a retired job would come back'); END;

CREATE TRIGGER specs_kept BEFORE DELETE ON specs
WHEN NOT EXISTS (SELECT 1 FROM retired WHERE job = OLD.job)
BEGIN SELECT RAISE(ABORT, 'an undecided job would be forgotten'); END;
