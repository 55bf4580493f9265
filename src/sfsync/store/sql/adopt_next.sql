-- Adopt the next thousand records that are not. $1 text org. One row per record: id.
UPDATE sfsync.record SET adopted = true
WHERE org = $1 AND id = ANY (ARRAY(SELECT r.id FROM sfsync.record AS r WHERE r.org = $1 AND NOT r.adopted LIMIT 1000))
RETURNING id
