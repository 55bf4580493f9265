-- Find dirty records whose read is due. $1 text org, $2 bigint the org's time, $3 integer rows at most.
-- Oldest first: record_id, entity.
SELECT record_id, entity FROM sfsync.dirty
WHERE org = $1 AND next_try_ms <= $2
ORDER BY next_try_ms
LIMIT $3
