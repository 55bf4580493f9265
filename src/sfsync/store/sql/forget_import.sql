-- Forget a file that is done. $1 bigint import.
WITH rows_gone AS (DELETE FROM sfsync.import_row WHERE import_id = $1)
DELETE FROM sfsync.import_file WHERE id = $1
