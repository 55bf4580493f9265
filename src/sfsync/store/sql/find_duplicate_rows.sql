-- Find the rows of a file that name the same record as a later one. {rows} is the table of rows. $1 bigint import.
-- By line: place, line, record_id, later (the line of the next such row).
SELECT d.place, d.line, d.record_id, d.later
FROM (
    SELECT o.ctid AS place, o.line, o.record_id, lead(o.line) OVER (PARTITION BY o.record_id ORDER BY o.line) AS later
    FROM {rows} AS o WHERE o.import_id = $1
) AS d
WHERE d.later IS NOT NULL
ORDER BY d.line
