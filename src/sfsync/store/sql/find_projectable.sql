-- Tell which of these records can say something already: those that Salesforce told about, or that others point to.
-- $1 text org, $2 text[] record ids. One row per such record: id.
SELECT q.id
FROM unnest($2::text[]) AS q (id)
CROSS JOIN LATERAL (
    SELECT o.complete OR o.is_deleted OR o.grouped AS is_told
    FROM sfsync.record AS o WHERE o.id = q.id AND o.org = $1 OFFSET 0
) AS r
WHERE r.is_told
    OR (SELECT true FROM sfsync.record AS o WHERE o.converted_contact_id = q.id AND o.org = $1 LIMIT 1)
    OR (SELECT true FROM sfsync.record AS o WHERE o.master_record_id = q.id AND o.org = $1 LIMIT 1)
