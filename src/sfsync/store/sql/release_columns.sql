-- Note which columns no mapping feeds any more, and take back those that one feeds again.
-- Arrays, one entry per mapped column: $1 text table, $2 text column. One row per column released: table_name, column_name.
WITH mapped AS (
    SELECT s.table_name, s.column_name FROM unnest($1::text[], $2::text[]) AS s (table_name, column_name)
), taken_back AS (
    DELETE FROM sfsync.released_column AS r
    WHERE EXISTS (SELECT FROM mapped AS s WHERE s.table_name = r.table_name AND s.column_name = r.column_name)
), dropped AS (
    DELETE FROM sfsync.mapped_column AS m
    WHERE NOT EXISTS (SELECT FROM mapped AS s WHERE s.table_name = m.table_name AND s.column_name = m.column_name)
    RETURNING m.table_name, m.column_name
)
INSERT INTO sfsync.released_column (table_name, column_name)
SELECT d.table_name, d.column_name FROM dropped AS d
ON CONFLICT DO NOTHING
RETURNING table_name, column_name
