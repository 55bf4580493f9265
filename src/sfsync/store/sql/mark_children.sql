-- Mark the known contacts of accounts that were deleted, merged or restored: their own change may be silent.
-- $1 text org, $2 text[] account ids, $3 bigint ms until a read proves something.
WITH child AS (
    UPDATE sfsync.record AS r SET parent_turned_ms = a.turned_ms
    FROM sfsync.record AS a
    WHERE a.id = ANY ($2::text[]) AND a.org = $1
        AND r.account_id = a.id AND r.org = $1 AND r.entity = 'Contact'
        AND r.parent_turned_ms IS DISTINCT FROM a.turned_ms
    RETURNING r.id, GREATEST(a.turned_ms, r.last_commit_ms) AS since_ms
)
INSERT INTO sfsync.dirty AS d (org, record_id, entity, causes, since_ms, next_try_ms)
SELECT $1, c.id, 'Contact', '{parent_changed}', c.since_ms, c.since_ms + $3
FROM child AS c
ON CONFLICT (record_id, org) DO UPDATE SET
    causes = ARRAY(SELECT DISTINCT unnest(d.causes || EXCLUDED.causes) ORDER BY 1),
    since_ms = GREATEST(d.since_ms, EXCLUDED.since_ms),
    touched = '{}',
    image_touched = false,
    next_try_ms = LEAST(d.next_try_ms, EXCLUDED.next_try_ms)
