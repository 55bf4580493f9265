-- Find the foreign keys of other tables that lead to a table of crm.
-- $1 text table (person, company). One row per key, partitions left out: schema_name, table_name, columns,
-- referenced_columns, on_delete (as pg_constraint.confdeltype), is_readable by us.
-- A person's company is left out: it is emptied before a company goes.
SELECT
    n.nspname AS schema_name, t.relname AS table_name, k.columns, k.referenced_columns,
    c.confdeltype::text AS on_delete,
    has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(t.oid, 'SELECT') AS is_readable
FROM pg_constraint AS c
JOIN pg_class AS t ON t.oid = c.conrelid
JOIN pg_namespace AS n ON n.oid = t.relnamespace
CROSS JOIN LATERAL (
    SELECT
        array_agg(a.attname::text ORDER BY u.place) AS columns,
        array_agg(f.attname::text ORDER BY u.place) AS referenced_columns
    FROM unnest(c.conkey, c.confkey) WITH ORDINALITY AS u (own, referenced, place)
    JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = u.own
    JOIN pg_attribute AS f ON f.attrelid = c.confrelid AND f.attnum = u.referenced
) AS k
WHERE c.contype = 'f' AND c.conparentid = 0
    AND c.confrelid = CASE $1::text WHEN 'person' THEN 'crm.person'::regclass ELSE 'crm.company'::regclass END
    AND NOT (c.conrelid = 'crm.person'::regclass AND k.columns = '{company_id}')
ORDER BY 1, 2, 3
