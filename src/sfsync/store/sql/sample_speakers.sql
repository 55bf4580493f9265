-- List the newest records that speak for a row which is neither merged away, deleted nor undecided.
-- $1 text org, $2 text entity, $3 integer records at most. One row per record: id.
SELECT s.id FROM (
    (
        SELECT p.salesforce_id AS id, p.id AS subject_id FROM crm.person AS p
        WHERE p.org = $1 AND p.source = lower($2) AND p.merged_into IS NULL AND p.deleted_at IS NULL AND p.sync = 'synced'
        ORDER BY p.id DESC LIMIT $3
    )
    UNION ALL
    (
        SELECT c.salesforce_id, c.id FROM crm.company AS c
        WHERE c.org = $1 AND $2 = 'Account' AND c.merged_into IS NULL AND c.deleted_at IS NULL
        ORDER BY c.id DESC LIMIT $3
    )
) AS s WHERE s.id IS NOT NULL
