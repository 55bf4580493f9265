-- Forget rows of a file that were taken. $1 bigint import, $2 bigint[] lines.
DELETE FROM sfsync.import_row WHERE import_id = $1 AND line = ANY ($2::bigint[])
