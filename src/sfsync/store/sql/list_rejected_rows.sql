-- List the rows of a file that were not taken. $1 bigint import. By line: line, record_id, reason.
SELECT r.line, r.record_id, r.reason FROM sfsync.import_row AS r
WHERE r.import_id = $1 AND r.reason IS NOT NULL
ORDER BY r.line
