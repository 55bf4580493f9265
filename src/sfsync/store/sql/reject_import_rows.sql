-- Say why rows of a file cannot be taken, and forget their values. $1 bigint import, $2 bigint[] lines, $3 text[] reasons.
UPDATE sfsync.import_row AS r SET
    reason = ($3::text[])[array_position($2::bigint[], r.line)], cells = '{}', company_cells = '{}'
WHERE r.import_id = $1 AND r.line = ANY ($2::bigint[])
