-- Note what became of a request. $1 text org, $2 bigint id, $3 text outcome, $4 jsonb detail. One row if it was open.
UPDATE sfsync.request SET org = $1, outcome = $3, detail = $4, done_at = now()
WHERE id = $2 AND done_at IS NULL
RETURNING id
