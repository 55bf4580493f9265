-- Note what became of a request. $1 text org, $2 bigint id, $3 text outcome, $4 jsonb detail. One row if it was open.
-- One about somebody who was erased must not keep the id that it names.
UPDATE sfsync.request SET
    org = $1,
    argument = CASE WHEN $3 = 'erased' THEN NULL ELSE argument END,
    outcome = $3,
    detail = $4,
    done_at = now()
WHERE id = $2 AND done_at IS NULL
RETURNING id
