-- Load what the mapping was when it was last bound. $1 text schema of person and company.
-- One row per column: table_name, column_name, role, sources (json text), suspended_reason, projected, and data_type,
-- the type that the column has in the database, null when it is not there.
SELECT m.table_name, m.column_name, m.role, m.sources::text AS sources, m.suspended_reason, m.projected, c.data_type
FROM sfsync.mapped_column AS m
LEFT JOIN LATERAL (
    SELECT format_type(a.atttypid, NULL) AS data_type
    FROM pg_namespace AS n
    JOIN pg_class AS t ON t.relnamespace = n.oid
    JOIN pg_attribute AS a ON a.attrelid = t.oid
    WHERE n.nspname = $1::text::name AND t.relname = m.table_name::name AND a.attname = m.column_name::name
        AND NOT a.attisdropped
    OFFSET 0
) AS c ON true
