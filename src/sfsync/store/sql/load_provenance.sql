-- Tell which change wrote each column of a person or company last.
-- $1 text org, $2 bigint id, $3 text[] columns. A creation and a merge wrote all of them; a change that names none is
-- of the time before that was kept. One row per column whose change is kept:
-- column_name, seq, at, action, origin, source, record_id, commit_ms, is_named.
-- The history is read once for all columns: one that is long would else be read for each that seldom changes.
SELECT
    k.name AS column_name, c.seq, c.at, c.action, c.origin, NULLIF(c.source, '') AS source, c.record_id, c.commit_ms,
    c.columns IS NOT NULL OR c.action <> 'changed' AS is_named
FROM (
    SELECT u.name, max(o.seq) AS seq
    FROM sfsync.change AS o
    CROSS JOIN LATERAL unnest(
        CASE WHEN o.columns IS NULL OR o.action IN ('created', 'merged') THEN $3::text[] ELSE o.columns END
    ) AS u (name)
    WHERE o.subject_id = $2 AND o.org = $1
    GROUP BY u.name
) AS k
JOIN sfsync.change AS c ON c.seq = k.seq
WHERE k.name = ANY ($3::text[])
