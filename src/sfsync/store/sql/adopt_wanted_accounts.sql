-- Adopt those of these accounts that an adopted contact belongs to. $1 text org, $2 text[] account ids.
-- One row per account adopted now: id.
UPDATE sfsync.record AS r SET adopted = true
FROM (
    SELECT q.id
    FROM unnest($2::text[]) AS q (id)
    WHERE (SELECT true FROM sfsync.record AS c WHERE c.account_id = q.id AND c.org = $1 AND c.adopted LIMIT 1)
) AS w
WHERE r.id = w.id AND r.org = $1 AND NOT r.adopted
RETURNING r.id
