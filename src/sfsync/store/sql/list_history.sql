-- Tell what became of a person or company, the newest first.
-- $1 text org, $2 bigint id, $3 bigint seq before which to begin (null: now), $4 integer entries at most.
-- Rows: seq, at, action, origin, source, record_id, commit_ms, columns.
SELECT c.seq, c.at, c.action, c.origin, NULLIF(c.source, '') AS source, c.record_id, c.commit_ms, c.columns
FROM sfsync.change AS c
WHERE c.subject_id = $2 AND c.org = $1 AND ($3::bigint IS NULL OR c.seq < $3)
ORDER BY c.seq DESC
LIMIT $4
