-- Spell types as load_columns does. $1 text[] types. One row per type: short, full_name.
SELECT short, format_type(short::regtype, NULL) AS full_name FROM unnest($1::text[]) AS short
