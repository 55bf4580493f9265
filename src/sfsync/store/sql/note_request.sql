-- Say how far an open request is. $1 bigint id, $2 jsonb detail.
UPDATE sfsync.request SET detail = $2 WHERE id = $1 AND done_at IS NULL
