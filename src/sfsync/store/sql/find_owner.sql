-- Find whose id this is: the person or company it leads to today, of any org, and a record that belongs to it.
-- $1 bigint id that was handed out once. At most one row: subject (person, company), id, org, record_ids.
WITH asked AS (
    SELECT i.subject_id AS id, 1 AS place FROM sfsync.identity AS i WHERE i.own_id = $1
    UNION ALL
    SELECT $1, 2
), owner AS (
    SELECT 'person' AS subject, p.id, p.org, p.salesforce_id, a.place
    FROM asked AS a JOIN crm.person AS p ON p.id = a.id
    UNION ALL
    SELECT 'company', c.id, c.org, c.salesforce_id, a.place FROM asked AS a JOIN crm.company AS c ON c.id = a.id
    ORDER BY place
    LIMIT 1
)
SELECT
    o.subject, o.id, o.org,
    ARRAY(
        SELECT r.id FROM sfsync.record AS r
        WHERE r.org = o.org AND (r.id = o.salesforce_id OR r.subject_id = o.id AND r.grouped)
    ) AS record_ids
FROM owner AS o
