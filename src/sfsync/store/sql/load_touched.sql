-- Load what projecting these records anew needs to know of them.
-- $1 text org, $2 text[] record ids. One row per known record: id, entity, subject_id, is_linked.
SELECT
    id, entity, subject_id,
    grouped OR hold_until IS NOT NULL OR converted_contact_id IS NOT NULL OR decision <> 'synced' AS is_linked
FROM sfsync.record
WHERE id = ANY ($2::text[]) AND org = $1
