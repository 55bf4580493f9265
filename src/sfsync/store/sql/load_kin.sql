-- Load the records that are one person or company with these, by conversions and merges whatever is known of them.
-- $1 text org, $2 text[] record ids. One row per known record: id, own_id. Locks nothing.
-- OFFSET 0 keeps each look-up a look-up by key.
WITH RECURSIVE kin (id) AS (
    SELECT r.id FROM sfsync.record AS r WHERE r.id = ANY ($2::text[]) AND r.org = $1
    UNION
    SELECT n.id
    FROM kin AS k
    CROSS JOIN LATERAL (
        SELECT r.converted_contact_id, r.master_record_id
        FROM sfsync.record AS r WHERE r.id = k.id AND r.org = $1 OFFSET 0
    ) AS e
    CROSS JOIN LATERAL (
        SELECT t.id FROM sfsync.record AS t
        WHERE t.id IN (e.converted_contact_id, e.master_record_id) AND t.org = $1
        UNION ALL
        SELECT s.id FROM sfsync.record AS s WHERE s.converted_contact_id = k.id AND s.org = $1
        UNION ALL
        SELECT s.id FROM sfsync.record AS s WHERE s.master_record_id = k.id AND s.org = $1
        OFFSET 0
    ) AS n
)
SELECT r.id, r.own_id
FROM kin AS k
CROSS JOIN LATERAL (
    SELECT o.id, o.own_id FROM sfsync.record AS o WHERE o.id = k.id AND o.org = $1 OFFSET 0
) AS r
ORDER BY r.id
