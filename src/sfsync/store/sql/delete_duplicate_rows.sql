-- Leave out rows of a file that name the same record as a later one. {rows} is the table of rows.
-- $1 bigint import. One row per row left out: line, record_id, later (the line of the next such row).
DELETE FROM {rows} AS r
USING (
    SELECT o.line, lead(o.line) OVER (PARTITION BY o.record_id ORDER BY o.line) AS later
    FROM {rows} AS o WHERE o.import_id = $1
) AS d
WHERE d.later IS NOT NULL AND r.import_id = $1 AND r.line = d.line
RETURNING r.line, r.record_id, d.later
