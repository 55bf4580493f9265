-- Find records whose projection waited for its other half as long as it may.
-- $1 text org. At most 1,000 rows: id, entity, subject_id.
SELECT id, entity, subject_id FROM sfsync.record
WHERE hold_until <= now() AND org = $1
ORDER BY hold_until
LIMIT 1000
