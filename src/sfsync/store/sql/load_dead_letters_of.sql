-- List the dead letters of records. $1 text org, $2 text[] record ids. Rows, oldest first: id, record_id, reason,
-- parked_at.
SELECT l.id, l.record_id, l.reason, l.parked_at
FROM sfsync.dead_letter AS l WHERE l.org = $1 AND l.record_id = ANY ($2::text[]) ORDER BY l.id
