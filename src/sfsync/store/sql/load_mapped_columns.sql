-- List what the mapping asks of a table. $1 text table (person, company).
-- One row per column, by name: column_name, pg_type, role, sources (json text), suspended_since, suspended_field.
SELECT m.column_name, m.pg_type, m.role, m.sources::text AS sources, m.suspended_since, m.suspended_field
FROM sfsync.mapped_column AS m
WHERE m.table_name = $1
ORDER BY m.column_name
