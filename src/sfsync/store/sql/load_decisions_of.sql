-- List the decisions that were taken on records. $1 text org, $2 text[] record ids, $3 bigint[] ids of their person.
-- Rows, newest first: choice, decided_by, via, decided_at, record_ids.
SELECT d.choice, d.decided_by, d.via, d.decided_at, d.record_ids
FROM sfsync.decision AS d
WHERE d.org = $1 AND d.person_id = ANY ($3::bigint[]) AND d.record_ids && $2::text[]
ORDER BY d.seq DESC
