-- Adopt the accounts of these contacts. $1 text org, $2 text[] contact ids.
-- One row per account adopted now: id, subject_id (null until Salesforce told what it is), is_linked.
UPDATE sfsync.record AS r SET adopted = true
FROM (
    SELECT DISTINCT c.account_id AS id
    FROM unnest($2::text[]) AS q (id)
    CROSS JOIN LATERAL (
        SELECT o.account_id FROM sfsync.record AS o WHERE o.id = q.id AND o.org = $1 OFFSET 0
    ) AS c
) AS w
WHERE r.id = w.id AND r.org = $1 AND NOT r.adopted
RETURNING r.id, CASE WHEN r.complete OR r.is_deleted THEN r.subject_id END AS subject_id,
    r.grouped OR r.hold_until IS NOT NULL AS is_linked
