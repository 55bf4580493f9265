-- List the columns of a table. $1 text schema, $2 text table. One row per column: column_name, data_type; of a domain,
-- the type that it is made of.
SELECT a.attname::text AS column_name, format_type(COALESCE(NULLIF(y.typbasetype, 0), a.atttypid), NULL) AS data_type
FROM pg_namespace AS n
JOIN pg_class AS t ON t.relnamespace = n.oid
JOIN pg_attribute AS a ON a.attrelid = t.oid
JOIN pg_type AS y ON y.oid = a.atttypid
WHERE n.nspname = $1::text::name AND t.relname = $2::text::name AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
