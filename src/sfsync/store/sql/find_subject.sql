-- Find the person or company that an id means today.
-- $1 text org, $2 bigint id that was handed out once, or null; $3 text record id, or null.
-- At most one row: subject (person, company), id, org.
WITH asked AS (
    SELECT COALESCE((SELECT i.subject_id FROM sfsync.identity AS i WHERE i.own_id = $2::bigint), $2::bigint) AS id
    WHERE $2::bigint IS NOT NULL
    UNION ALL
    SELECT r.subject_id FROM sfsync.record AS r WHERE r.id = $3::text AND r.org = $1 AND r.subject_id IS NOT NULL
)
SELECT 'person' AS subject, p.id, p.org FROM asked AS a JOIN crm.person AS p ON p.id = a.id
UNION ALL
SELECT 'company', c.id, c.org FROM asked AS a JOIN crm.company AS c ON c.id = a.id
