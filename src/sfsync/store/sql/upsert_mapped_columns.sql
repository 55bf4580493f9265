-- Keep what the mapping asks for; what does not change is not written. Arrays, one entry per column: $1 text table,
-- $2 text column, $3 text type, $4 text role, $5 text sources (json), $6 text field it waits for and $7 text reason when
-- it is suspended, else null, $8 boolean whether it is written now.
-- A column whose sources changed, or that was not written for a while, owes a projection.
INSERT INTO sfsync.mapped_column AS m (
    table_name, column_name, pg_type, role, sources, suspended_since, suspended_field, suspended_reason
)
SELECT s.table_name, s.column_name, s.pg_type, s.role, s.sources::jsonb,
    CASE WHEN s.reason IS NOT NULL THEN now() END, s.field, s.reason
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
    AS s (table_name, column_name, pg_type, role, sources, field, reason)
ON CONFLICT (table_name, column_name) DO UPDATE SET
    pg_type = EXCLUDED.pg_type,
    role = EXCLUDED.role,
    sources = EXCLUDED.sources,
    since = CASE WHEN (m.pg_type, m.role, m.sources) IS DISTINCT FROM (EXCLUDED.pg_type, EXCLUDED.role, EXCLUDED.sources)
        THEN now() ELSE m.since END,
    suspended_since = CASE WHEN EXCLUDED.suspended_reason IS NOT NULL
        THEN COALESCE(m.suspended_since, EXCLUDED.suspended_since) END,
    suspended_field = EXCLUDED.suspended_field,
    suspended_reason = EXCLUDED.suspended_reason,
    projected = false
WHERE (m.pg_type, m.role, m.sources, m.suspended_field, m.suspended_reason)
        IS DISTINCT FROM (EXCLUDED.pg_type, EXCLUDED.role, EXCLUDED.sources, EXCLUDED.suspended_field, EXCLUDED.suspended_reason)
    OR m.projected AND NOT (
        SELECT w.is_written FROM unnest($1::text[], $2::text[], $8::boolean[]) AS w (table_name, column_name, is_written)
        WHERE w.table_name = m.table_name AND w.column_name = m.column_name
    )
