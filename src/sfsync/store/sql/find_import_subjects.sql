-- Tell whose the records of imported rows are now. $1 text org, $2 text[] record ids.
-- One row per id, in their order: known, own_id, subject_id, decision, person_id, sync, sync_reason, is_followed (the
-- person is about to follow Salesforce: it waits for its other half, or only the lead that became this contact is known).
-- A record whose group is not decided on may still have its own row; that is the one to be changed.
SELECT
    r.id IS NOT NULL AS known, r.own_id, r.subject_id, r.decision, p.id AS person_id, p.sync, p.sync_reason,
    COALESCE(
        p.id IS NULL AND (r.adopted AND r.own_id IS NOT NULL AND r.decision = 'synced' OR l.is_followed), false
    ) AS is_followed
FROM unnest($2::text[]) WITH ORDINALITY AS q (id, place)
LEFT JOIN LATERAL (
    SELECT o.id, o.own_id, o.subject_id, o.decision, o.adopted
    FROM sfsync.record AS o WHERE o.id = q.id AND o.org = $1 OFFSET 0
) AS r ON true
LEFT JOIN LATERAL (
    SELECT o.id, o.sync, o.sync_reason FROM crm.person AS o
    WHERE o.id IN (r.own_id, r.subject_id) AND o.merged_into IS NULL
    ORDER BY o.id IS NOT DISTINCT FROM r.own_id DESC
    LIMIT 1
) AS p ON true
LEFT JOIN LATERAL (
    SELECT true AS is_followed FROM sfsync.record AS o
    WHERE r.id IS NULL AND o.converted_contact_id = q.id AND o.org = $1
        AND o.adopted AND o.own_id IS NOT NULL AND o.decision = 'synced'
    LIMIT 1
) AS l ON true
ORDER BY q.place
