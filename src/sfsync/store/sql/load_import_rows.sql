-- Load the next rows of a file. {rows} is the table of rows.
-- $1 bigint import, $2 bigint the line after which to go on, $3 integer rows at most.
-- By line: line, record_id, company_id, cells, company_cells (both json text).
SELECT r.line, r.record_id, r.company_id, r.cells::text AS cells, r.company_cells::text AS company_cells
FROM {rows} AS r
WHERE r.import_id = $1 AND r.line > $2 AND r.reason IS NULL
ORDER BY r.line
LIMIT $3
