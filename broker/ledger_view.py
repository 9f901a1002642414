"""Views of the ledger: what people ask of it, in SQL that hides how it is kept.

They are part of the file, so `sqlite3` and `sqlite-utils` have them too; docs/ledger.md lists
their columns. Every one reads this node's own knowledge: what it granted, took and decided.

1. A view reads `history` once, whatever it holds: no question costs the square of it.
2. Wall times are this node's, for humans alone.

`lead` and `max` over windows instead of an index on the history's job: an index costs every
commit, and a question that takes a second is asked by a person.
"""

from typing import Final

NAMES: Final = ("jobs", "attempts", "checkpoints", "takeovers", "agents")
"""The views, in the order of docs/ledger.md."""

_JOBS: Final = """
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
"""
_ATTEMPTS: Final = """
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
"""
_CHECKPOINTS: Final = """
CREATE VIEW checkpoints AS
SELECT wall, job, json_extract(facts, '$.epoch') AS epoch, json_extract(facts, '$.seq') AS seq,
    json_extract(facts, '$.agent') AS agent, json_extract(facts, '$.bytes') AS bytes,
    json_extract(facts, '$.rung') AS rung, json_extract(facts, '$.frozen_s') AS frozen_s,
    json_extract(facts, '$.upload_s') AS upload_s
FROM history WHERE event = 'checkpointed';
"""
TAKEOVERS: Final = """
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
"""
_AGENTS: Final = """
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
"""
SCHEMA: Final = _JOBS + _ATTEMPTS + _CHECKPOINTS + TAKEOVERS + _AGENTS
"""All of them, as statements."""
