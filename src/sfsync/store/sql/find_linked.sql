-- Tell which of these records have an edge to or from another record.
-- $1 text org, $2 text[] record ids. One row per linked record: id.
-- Scalar subqueries and OFFSET 0 keep the look-ups by key; EXISTS may be hashed over the whole mirror.
SELECT q.id
FROM unnest($2::text[]) AS q (id)
CROSS JOIN LATERAL (
    SELECT o.grouped, o.converted_contact_id, o.master_record_id
    FROM sfsync.record AS o WHERE o.id = q.id AND o.org = $1 OFFSET 0
) AS r
WHERE r.grouped
    OR r.converted_contact_id IS NOT NULL
    OR r.master_record_id IS NOT NULL
    OR (SELECT true FROM sfsync.record AS o WHERE o.converted_contact_id = q.id AND o.org = $1 LIMIT 1)
    OR (SELECT true FROM sfsync.record AS o WHERE o.master_record_id = q.id AND o.org = $1 LIMIT 1)
