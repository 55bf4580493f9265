-- Load every record of each group that these records are in, or were in until now.
-- $1 text org, $2 text[] record ids. One row per record, in no order.
-- An edge to a record that has no row does not exist, so each step joins its target.
WITH RECURSIVE member (id) AS (
    (
        SELECT q.id FROM unnest($2::text[]) AS q (id)
        UNION
        SELECT o.id
        FROM unnest($2::text[]) AS q (id)
        JOIN sfsync.record AS r ON r.id = q.id AND r.org = $1 AND r.grouped
        JOIN sfsync.record AS o ON o.subject_id = r.subject_id AND o.grouped AND o.org = $1
    )
    UNION
    SELECT n.id
    FROM member AS m
    CROSS JOIN LATERAL (
        SELECT t.id
        FROM sfsync.record AS r
        JOIN sfsync.record AS t ON t.org = $1 AND t.id IN (r.converted_contact_id, r.master_record_id)
        WHERE r.id = m.id AND r.org = $1
        UNION ALL
        SELECT s.id FROM sfsync.record AS s WHERE s.converted_contact_id = m.id AND s.org = $1
        UNION ALL
        SELECT s.id FROM sfsync.record AS s WHERE s.master_record_id = m.id AND s.org = $1
    ) AS n
    WHERE EXISTS (SELECT FROM sfsync.record AS k WHERE k.id = m.id AND k.org = $1)
)
SELECT
    r.id, r.entity, r.own_id, r.subject_id, r.grouped, r.complete, r.is_deleted, r.modstamp_ms,
    r.master_record_id, r.converted_contact_id, r.converted_date,
    r.hold_until > clock_timestamp() AS held
FROM member AS m
JOIN sfsync.record AS r ON r.id = m.id AND r.org = $1
