-- Mark contacts whose account was deleted, merged or restored, since their own change may be silent: the known
-- contacts of accounts that turned, and contacts written live under a deleted account; once per turn of the account.
-- $1 text org, $2 text[] accounts that turned, $3 text[] contacts written, $4 bigint ms until a read proves something.
-- OFFSET 0 keeps each look-up a look-up by key, however few rows the planner expects.
WITH relative AS (
    SELECT r.id, a.turned_ms
    FROM unnest($2::text[]) AS q (id)
    CROSS JOIN LATERAL (
        SELECT o.turned_ms FROM sfsync.record AS o WHERE o.id = q.id AND o.org = $1 OFFSET 0
    ) AS a
    CROSS JOIN LATERAL (
        SELECT o.id, o.entity, o.parent_turned_ms
        FROM sfsync.record AS o WHERE o.account_id = q.id AND o.org = $1 OFFSET 0
    ) AS r
    WHERE r.entity = 'Contact' AND r.parent_turned_ms IS DISTINCT FROM a.turned_ms
    UNION
    SELECT q.id, a.turned_ms
    FROM unnest($3::text[]) AS q (id)
    CROSS JOIN LATERAL (
        SELECT o.account_id, o.is_deleted, o.parent_turned_ms
        FROM sfsync.record AS o WHERE o.id = q.id AND o.org = $1 OFFSET 0
    ) AS r
    CROSS JOIN LATERAL (
        SELECT o.turned_ms, o.is_deleted FROM sfsync.record AS o WHERE o.id = r.account_id AND o.org = $1 OFFSET 0
    ) AS a
    WHERE NOT r.is_deleted AND a.is_deleted AND r.parent_turned_ms IS DISTINCT FROM a.turned_ms
), marked AS (
    UPDATE sfsync.record AS r SET parent_turned_ms = c.turned_ms
    FROM relative AS c
    WHERE r.id = c.id AND r.org = $1
    RETURNING r.id, GREATEST(c.turned_ms, r.seen_to_ms) AS since_ms
)
INSERT INTO sfsync.dirty AS d (org, record_id, entity, causes, since_ms, next_try_ms)
SELECT $1, m.id, 'Contact', '{parent_changed}', m.since_ms, m.since_ms + $4
FROM marked AS m
ON CONFLICT (record_id, org) DO UPDATE SET
    causes = ARRAY(SELECT DISTINCT unnest(d.causes || EXCLUDED.causes) ORDER BY 1),
    since_ms = GREATEST(d.since_ms, EXCLUDED.since_ms),
    touched = '{}',
    image_touched = false,
    next_try_ms = LEAST(d.next_try_ms, EXCLUDED.next_try_ms)
