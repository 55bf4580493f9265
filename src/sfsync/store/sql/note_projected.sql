-- Note that every row shows these columns as the mirror has them. Arrays: $1 text table, $2 text column.
UPDATE sfsync.mapped_column AS m SET projected = true
FROM unnest($1::text[], $2::text[]) AS s (table_name, column_name)
WHERE m.table_name = s.table_name AND m.column_name = s.column_name AND NOT m.projected
