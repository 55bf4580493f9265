-- Load what projecting these records anew needs to know of them.
-- $1 text org, $2 text[] record ids. One row per known record: id, entity, subject_id (null until Salesforce told who
-- it is), adopted, is_linked.
SELECT
    id, entity, CASE WHEN complete OR is_deleted THEN subject_id END AS subject_id, adopted,
    grouped OR hold_until IS NOT NULL OR converted_contact_id IS NOT NULL OR decision <> 'synced' AS is_linked
FROM sfsync.record
WHERE id = ANY ($2::text[]) AND org = $1
