-- Tell which of these records have an edge to or from another record.
-- $1 text org, $2 text[] record ids. One row per linked record: id.
SELECT q.id
FROM unnest($2::text[]) AS q (id)
JOIN sfsync.record AS r ON r.id = q.id AND r.org = $1
WHERE r.grouped
    OR r.converted_contact_id IS NOT NULL
    OR r.master_record_id IS NOT NULL
    OR EXISTS (SELECT FROM sfsync.record AS o WHERE o.converted_contact_id = q.id AND o.org = $1)
    OR EXISTS (SELECT FROM sfsync.record AS o WHERE o.master_record_id = q.id AND o.org = $1)
