-- List the dirty marks of records. $1 text org, $2 text[] record ids.
-- Rows by record: record_id, causes, since_ms, attempts, next_try_ms, marked_at.
SELECT d.record_id, d.causes, d.since_ms, d.attempts, d.next_try_ms, d.marked_at
FROM sfsync.dirty AS d WHERE d.org = $1 AND d.record_id = ANY ($2::text[]) ORDER BY d.record_id
