-- List columns that keep their last values because the org lost or retyped a field of theirs.
-- One row per column, by name: table_name, column_name, field, reason (gone, retyped), since.
SELECT table_name, column_name, suspended_field AS field, suspended_reason AS reason, suspended_since AS since
FROM sfsync.mapped_column WHERE suspended_since IS NOT NULL
ORDER BY table_name, column_name
