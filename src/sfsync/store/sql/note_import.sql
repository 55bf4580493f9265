-- Say how far an import is, in its file and in the open request for it. $1 bigint import, $2 bigint request, $3 jsonb counts.
WITH noted AS (UPDATE sfsync.import_file SET taken = $3 WHERE id = $1)
UPDATE sfsync.request SET detail = $3 WHERE id = $2 AND done_at IS NULL
