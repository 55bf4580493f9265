-- Find dirty records of an entity whose read is due.
-- $1 text org, $2 text entity, $3 bigint the org's time, $4 integer rows at most. Oldest first: record_id.
SELECT record_id FROM sfsync.dirty
WHERE org = $1 AND entity = $2 AND next_try_ms <= $3
ORDER BY next_try_ms
LIMIT $4
