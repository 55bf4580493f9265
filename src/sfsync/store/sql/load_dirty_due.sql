-- Find dirty records of an entity whose read is due.
-- $1 text org, $2 text entity, $3 bigint the org's time, $4 integer rows at most. Oldest first: record_id, may_be_deleted.
SELECT d.record_id, 'delete' = ANY (d.causes) OR COALESCE(r.is_deleted, false) AS may_be_deleted
FROM sfsync.dirty AS d
LEFT JOIN sfsync.record AS r ON r.org = d.org AND r.id = d.record_id
WHERE d.org = $1 AND d.entity = $2 AND d.next_try_ms <= $3
ORDER BY d.next_try_ms
LIMIT $4
