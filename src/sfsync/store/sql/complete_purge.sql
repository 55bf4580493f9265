-- Note what became of a request to purge; from now on a hash stands for the id it named.
-- $1 text org, $2 bigint id, $3 text hash, $4 text outcome, $5 jsonb detail.
UPDATE sfsync.request SET org = $1, argument = $3, outcome = $4, detail = $5, done_at = now() WHERE id = $2
