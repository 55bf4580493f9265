-- Tell what became of a request. $1 bigint id. At most one row: outcome, detail, done_at.
SELECT outcome, detail, done_at FROM sfsync.request WHERE id = $1
