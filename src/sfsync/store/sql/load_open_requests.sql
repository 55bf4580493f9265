-- List requests that nobody has done yet. $1 text org, $2 bigint[] ids of those that are being served, $3 integer most.
-- Pulls last, since there may be a flood of them; then the oldest first:
-- id, kind, argument, asked_by, left_s (seconds until nobody waits any more; null: never).
SELECT id, kind, argument, asked_by, extract(epoch FROM expires_at - now())::double precision AS left_s
FROM sfsync.request
WHERE done_at IS NULL AND (org IS NULL OR org = $1) AND id <> ALL ($2::bigint[])
ORDER BY kind = 'pull', id
LIMIT $3
