-- The schema of format 5, as it stood in a new file of then.
PRAGMA journal_mode = WAL;
PRAGMA application_id = 0x574B5253;
PRAGMA user_version = 5;
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT;
INSERT INTO meta VALUES ('boot', 0);
INSERT INTO meta VALUES ('serial', 0);
INSERT INTO meta VALUES ('generation', 0);
INSERT INTO meta VALUES ('rejoin', 0);
CREATE TABLE peers (
    node TEXT PRIMARY KEY,
    boot INTEGER NOT NULL, -- the most that this node saw of that one's disk
    nonce TEXT NOT NULL,
    serial INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE specs (
    job TEXT PRIMARY KEY,
    digest TEXT NOT NULL,
    payload BLOB NOT NULL -- JSON, exactly the bytes that travel
) STRICT;
CREATE TABLE records (
    job TEXT PRIMARY KEY,
    state TEXT NOT NULL, -- queued, running, cancelling, abstaining, or the verdict; for queries
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
    outcome TEXT NOT NULL, -- digest of the outcome that was voted on, result included
    verdict TEXT NOT NULL,
    exit_code INTEGER,
    reason TEXT NOT NULL, -- its beginning
    epoch INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    swept INTEGER NOT NULL DEFAULT 0, -- 1: what the own broker kept of it is known to be gone
    wall REAL NOT NULL
) STRICT, WITHOUT ROWID;
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
CREATE TABLE functions (
    function TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    digest TEXT NOT NULL, -- of the definition, or 'removed'
    filed TEXT NOT NULL, -- digest of what the node's functions file said of it last, or ''
    body TEXT NOT NULL -- the record as JSON; the columns before repeat parts of it
) STRICT, WITHOUT ROWID;
CREATE TRIGGER functions_fence BEFORE UPDATE ON functions
WHEN NEW.version < OLD.version OR (NEW.version = OLD.version AND NEW.digest < OLD.digest)
BEGIN SELECT RAISE(ABORT, 'the version of a function would go back'); END;
CREATE VIEW jobs AS
SELECT job, substr(job, 1, instr(job, '_') - 1) AS device, substr(job, instr(job, '_') + 1) AS id,
    state, epoch, agent, attempt, function, image, exit_code, result_bytes, reason,
    decided_wall, retired_wall
FROM (
    SELECT r.job, r.state, r.epoch, r.holder AS agent,
        coalesce(json_extract(r.body, '$.attempt'), 0) AS attempt,
        json_extract(CAST(s.payload AS TEXT), '$.function') AS function,
        json_extract(CAST(s.payload AS TEXT), '$.spec.image') AS image,
        json_extract(r.body, '$.decided.exit_code') AS exit_code,
        json_extract(r.body, '$.decided.result_bytes') AS result_bytes,
        coalesce(json_extract(r.body, '$.decided.reason'), json_extract(r.body, '$.reason'), '')
            AS reason,
        r.decided_wall, NULL AS retired_wall
    FROM records r LEFT JOIN specs s USING (job)
    UNION ALL
    SELECT job, 'queued', 0, NULL, 0, json_extract(CAST(payload AS TEXT), '$.function'),
        json_extract(CAST(payload AS TEXT), '$.spec.image'), NULL, NULL, '', NULL, NULL
    FROM specs WHERE job NOT IN (SELECT job FROM records)
    UNION ALL
    SELECT job, verdict, epoch, NULL, attempt, NULL, NULL, exit_code, NULL, reason, NULL, wall
    FROM retired
);
CREATE VIEW attempts AS
WITH turns AS (
    SELECT id, wall, event, job,
        json_extract(facts, '$.epoch') AS epoch, json_extract(facts, '$.agent') AS agent,
        coalesce(json_extract(facts, '$.verdict'), json_extract(facts, '$.reason'), '') AS told
    FROM history WHERE event IN ('granted', 'taken_over', 'released', 'decided')
), marked AS (
    SELECT *, lead(wall) OVER by_job AS ended_wall, lead(event) OVER by_job AS ended,
        lead(told) OVER by_job AS why
    FROM turns WINDOW by_job AS (PARTITION BY job ORDER BY id)
)
SELECT job, epoch, agent, event AS began, wall AS began_wall, ended, ended_wall, why
FROM marked WHERE event IN ('granted', 'taken_over');
CREATE VIEW checkpoints AS
SELECT wall, job, json_extract(facts, '$.epoch') AS epoch, json_extract(facts, '$.seq') AS seq,
    json_extract(facts, '$.agent') AS agent, json_extract(facts, '$.bytes') AS bytes,
    json_extract(facts, '$.rung') AS rung, json_extract(facts, '$.frozen_s') AS frozen_s,
    json_extract(facts, '$.upload_s') AS upload_s
FROM history WHERE event = 'checkpointed';
CREATE INDEX history_lost ON history (json_extract(facts, '$.agent'), id)
    WHERE event = 'agent_lost';
CREATE VIEW takeovers AS
WITH marked AS (
    SELECT id, event, job,
        max(iif(event = 'checkpointed', id, NULL)) OVER (PARTITION BY job ORDER BY id) AS saved,
        max(iif(event <> 'checkpointed', id, NULL)) OVER (
            PARTITION BY job ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS held
    FROM history WHERE event IN ('granted', 'taken_over', 'checkpointed')
)
SELECT h.wall, m.job, json_extract(h.facts, '$.epoch') AS epoch,
    json_extract(h.facts, '$.agent') AS agent, json_extract(h.facts, '$.former') AS former,
    (
        SELECT l.wall FROM history l
        WHERE l.event = 'agent_lost' AND json_extract(l.facts, '$.agent') =
            json_extract(h.facts, '$.former') AND l.id < m.id AND l.id > coalesce(m.held, 0)
        ORDER BY l.id DESC LIMIT 1
    ) AS lost_wall,
    json_extract(c.facts, '$.epoch') AS from_epoch, json_extract(c.facts, '$.seq') AS from_seq
FROM marked m JOIN history h ON h.id = m.id LEFT JOIN history c ON c.id = m.saved
WHERE m.event = 'taken_over';
CREATE VIEW agents AS
SELECT agent, min(wall) AS first_wall, max(wall) AS last_wall, sum(event = 'holds') AS running,
    sum(event IN ('granted', 'taken_over')) AS grants, sum(event = 'taken_over') AS takeovers,
    sum(event = 'checkpointed') AS checkpoints, sum(bytes) AS checkpoint_bytes,
    sum(event = 'released') AS releases, sum(event = 'agent_lost') AS losses
FROM (
    SELECT wall, event, json_extract(facts, '$.agent') AS agent,
        coalesce(json_extract(facts, '$.bytes'), 0) AS bytes
    FROM history
    WHERE event IN ('granted', 'taken_over', 'checkpointed', 'released', 'agent_lost')
    UNION ALL
    SELECT NULL, 'holds', holder, 0 FROM records WHERE state = 'running'
)
GROUP BY agent;
