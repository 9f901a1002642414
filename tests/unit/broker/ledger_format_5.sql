-- What format 5 had beside format 4, as it stood in a new file of then.
PRAGMA user_version = 5;
DROP VIEW takeovers;
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
