-- List the people who wait for a decision, by id. $1 text org, $2 bigint id after which to begin, $3 integer people at
-- most, $4 bigint person id, null for all. Rows by id: person_id, speaker, lead, reason, since.
SELECT q.subject_id AS person_id, q.speaker, q.lead, q.reason, q.since
FROM sfsync.pending AS q
WHERE q.org = $1 AND q.subject_id > $2 AND ($4::bigint IS NULL OR q.subject_id = $4)
ORDER BY q.subject_id
LIMIT $3
