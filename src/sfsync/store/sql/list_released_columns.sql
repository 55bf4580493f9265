-- List columns that sfsync made, or was given, and that no mapping feeds now. One row per column: table_name, column_name.
SELECT table_name, column_name FROM sfsync.released_column
