-- Tell what is known of the companies that imported rows name. $1 text org, $2 text[] record ids.
-- One row per id, in their order: own_id, subject_id, adopted, is_told (Salesforce said what it is), has_row.
SELECT
    r.own_id, r.subject_id, COALESCE(r.adopted, false) AS adopted,
    COALESCE(r.complete OR r.is_deleted, false) AS is_told, c.id IS NOT NULL AS has_row
FROM unnest($2::text[]) WITH ORDINALITY AS q (id, place)
LEFT JOIN LATERAL (
    SELECT o.own_id, o.subject_id, o.adopted, o.complete, o.is_deleted
    FROM sfsync.record AS o WHERE o.id = q.id AND o.org = $1 OFFSET 0
) AS r ON true
LEFT JOIN LATERAL (SELECT o.id FROM crm.company AS o WHERE o.id = r.subject_id OFFSET 0) AS c ON true
ORDER BY q.place
