-- Mark contacts that a batch wrote live under a deleted account, once per change of that account.
-- $1 text org, $2 text[] contact ids, $3 bigint ms until a read proves something.
WITH orphan AS (
    UPDATE sfsync.record AS r SET parent_turned_ms = a.turned_ms
    FROM sfsync.record AS a
    WHERE r.id = ANY ($2::text[]) AND r.org = $1 AND NOT r.is_deleted
        AND a.id = r.account_id AND a.org = $1 AND a.is_deleted
        AND r.parent_turned_ms IS DISTINCT FROM a.turned_ms
    RETURNING r.id, GREATEST(a.turned_ms, r.last_commit_ms, r.seen_from_ms) AS since_ms
)
INSERT INTO sfsync.dirty AS d (org, record_id, entity, causes, since_ms, next_try_ms)
SELECT $1, o.id, 'Contact', '{parent_changed}', o.since_ms, o.since_ms + $3
FROM orphan AS o
ON CONFLICT (record_id, org) DO UPDATE SET
    causes = ARRAY(SELECT DISTINCT unnest(d.causes || EXCLUDED.causes) ORDER BY 1),
    since_ms = GREATEST(d.since_ms, EXCLUDED.since_ms),
    touched = '{}',
    image_touched = false,
    next_try_ms = LEAST(d.next_try_ms, EXCLUDED.next_try_ms)
