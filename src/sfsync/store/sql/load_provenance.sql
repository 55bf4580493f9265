-- Tell which change wrote each column of a person or company last.
-- $1 text org, $2 bigint id, $3 text[] columns. A creation and a merge wrote all of them; a change that names none is
-- of the time before that was kept. One row per column whose change is kept:
-- column_name, seq, at, action, origin, source, record_id, commit_ms, is_named.
SELECT
    k.name AS column_name, c.seq, c.at, c.action, c.origin, NULLIF(c.source, '') AS source, c.record_id, c.commit_ms,
    c.columns IS NOT NULL OR c.action <> 'changed' AS is_named
FROM unnest($3::text[]) AS k (name)
CROSS JOIN LATERAL (
    SELECT o.* FROM sfsync.change AS o
    WHERE o.subject_id = $2 AND o.org = $1
        AND (o.columns IS NULL OR o.action IN ('created', 'merged') OR k.name = ANY (o.columns))
    ORDER BY o.seq DESC
    LIMIT 1
) AS c
