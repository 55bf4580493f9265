-- Load the next records in the order of ids, for projecting them anew.
-- $1 text org, $2 text the id after which to go on. At most 1,000 rows: id, entity, subject_id, adopted, is_linked.
SELECT
    id, entity, CASE WHEN complete OR is_deleted THEN subject_id END AS subject_id, adopted,
    grouped OR hold_until IS NOT NULL OR converted_contact_id IS NOT NULL OR decision <> 'synced' AS is_linked
FROM sfsync.record
WHERE org = $1 AND id > $2 AND subject_id IS NOT NULL
ORDER BY id
LIMIT 1000
