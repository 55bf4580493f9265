-- Say why rows of a file cannot be taken, and forget their values. $1 bigint import, $2 bigint[] lines, $3 text[] reasons.
UPDATE sfsync.import_row AS r SET reason = s.reason, cells = '{}', company_cells = '{}'
FROM unnest($2::bigint[], $3::text[]) AS s (line, reason)
WHERE r.import_id = $1 AND r.line = s.line
