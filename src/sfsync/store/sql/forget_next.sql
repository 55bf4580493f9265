-- Forget the next thousand records that nobody adopted, and what is noted of them. $1 text org. One row each: id.
WITH forgotten AS (
    DELETE FROM sfsync.record
    WHERE org = $1
        AND id = ANY (ARRAY(SELECT r.id FROM sfsync.record AS r WHERE r.org = $1 AND NOT r.adopted LIMIT 1000))
    RETURNING id
), clean AS (
    DELETE FROM sfsync.dirty WHERE org = $1 AND record_id = ANY (ARRAY(SELECT f.id FROM forgotten AS f))
), buried AS (
    DELETE FROM sfsync.dead_letter WHERE org = $1 AND record_id = ANY (ARRAY(SELECT f.id FROM forgotten AS f))
)
SELECT id FROM forgotten
