-- Find the contacts whose company changed its id, or has one for the first time.
-- $1 text org, $2 text[] account ids. One row per contact: id, entity, subject_id, adopted, is_linked.
SELECT
    r.id, r.entity, r.subject_id, r.adopted,
    r.grouped OR r.hold_until IS NOT NULL OR r.decision <> 'synced' AS is_linked
FROM sfsync.record AS r
WHERE r.account_id = ANY ($2::text[]) AND r.org = $1 AND r.entity = 'Contact' AND r.subject_id IS NOT NULL
    AND (r.complete OR r.is_deleted)
