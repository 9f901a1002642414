-- The schema of format 3, as `.dump` said it of a new file of then.
PRAGMA journal_mode = WAL;
PRAGMA application_id = 0x574B5253;
PRAGMA user_version = 3;
CREATE TABLE functions (
    function TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    digest TEXT NOT NULL, -- of the definition, or 'removed'
    filed TEXT NOT NULL, -- digest of what the node's functions file said of it last, or ''
    body TEXT NOT NULL -- the record as JSON; the columns before repeat parts of it
) STRICT, WITHOUT ROWID;
CREATE TABLE history (
    id INTEGER PRIMARY KEY,
    wall REAL NOT NULL,
    event TEXT NOT NULL,
    job TEXT,
    facts TEXT NOT NULL -- JSON
) STRICT;
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT;
INSERT INTO "meta" VALUES('boot',0);
INSERT INTO "meta" VALUES('serial',0);
INSERT INTO "meta" VALUES('generation',0);
INSERT INTO "meta" VALUES('rejoin',0);
CREATE TABLE peers (
    node TEXT PRIMARY KEY,
    boot INTEGER NOT NULL, -- the most that this node saw of that one's disk
    nonce TEXT NOT NULL,
    serial INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE records (
    job TEXT PRIMARY KEY,
    state TEXT NOT NULL, -- queued, running, cancelling, abstaining, or the verdict; for queries
    epoch INTEGER NOT NULL,
    holder TEXT,
    decided TEXT, -- digest of the decided outcome
    decided_wall REAL, -- unix time at which this node noted the decision
    body TEXT NOT NULL -- the record as JSON; the columns before repeat parts of it
) STRICT, WITHOUT ROWID;
CREATE TABLE retired (
    job TEXT PRIMARY KEY,
    request TEXT NOT NULL, -- digest of what the device sent; '' when the spec never came
    outcome TEXT NOT NULL, -- digest of the outcome that was voted on, result included
    verdict TEXT NOT NULL,
    exit_code INTEGER,
    reason TEXT NOT NULL, -- its beginning
    epoch INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    swept INTEGER NOT NULL DEFAULT 0, -- 1: what the own broker kept of it is known to be gone
    wall REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE specs (
    job TEXT PRIMARY KEY,
    digest TEXT NOT NULL,
    payload BLOB NOT NULL -- JSON, exactly the bytes that travel
) STRICT;
CREATE INDEX retired_wall ON retired (wall);
CREATE INDEX retired_unswept ON retired (job) WHERE swept = 0;
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
CREATE TRIGGER functions_fence BEFORE UPDATE ON functions
WHEN NEW.version < OLD.version OR (NEW.version = OLD.version AND NEW.digest < OLD.digest)
BEGIN SELECT RAISE(ABORT, 'the version of a function would go back'); END;
