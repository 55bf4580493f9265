-- Find the record that speaks for a person, or would if it were decided. $1 text org, $2 bigint any id of the person.
-- At most one row: id.
SELECT COALESCE((SELECT w.speaker FROM sfsync.pending AS w WHERE w.subject_id = p.id), p.salesforce_id) AS id
FROM crm.person AS p
WHERE p.id = crm.resolve_person($2::bigint) AND p.org = $1
