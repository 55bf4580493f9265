-- Give columns of the application to sfsync, so that a mapping may feed them. Arrays: $1 text table, $2 text column.
INSERT INTO sfsync.released_column (table_name, column_name)
SELECT s.table_name, s.column_name FROM unnest($1::text[], $2::text[]) AS s (table_name, column_name)
ON CONFLICT DO NOTHING
