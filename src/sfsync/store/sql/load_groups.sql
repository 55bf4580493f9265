-- Load every record of each group that these records are in, or were in until now.
-- $1 text org, $2 text[] record ids. One row per record, in no order; row_sync is the state of the row that has its
-- own id, unless that was merged away.
-- An edge to a record that has no row does not exist, so each step looks its target up.
-- OFFSET 0 keeps each look-up a look-up by key: joined freely, the planner reads the whole mirror to hash it, or
-- walks a partial index that it believes to be empty once per record.
WITH RECURSIVE member (id) AS (
    (
        SELECT q.id FROM unnest($2::text[]) AS q (id)
        UNION
        SELECT o.id
        FROM unnest($2::text[]) AS q (id)
        CROSS JOIN LATERAL (
            SELECT r.subject_id, r.grouped FROM sfsync.record AS r WHERE r.id = q.id AND r.org = $1 OFFSET 0
        ) AS g
        CROSS JOIN LATERAL (
            SELECT r.id FROM sfsync.record AS r
            WHERE r.subject_id = g.subject_id AND r.grouped AND r.org = $1 OFFSET 0
        ) AS o
        WHERE g.grouped
    )
    UNION
    SELECT n.id
    FROM member AS m
    CROSS JOIN LATERAL (
        SELECT r.converted_contact_id, r.master_record_id
        FROM sfsync.record AS r WHERE r.id = m.id AND r.org = $1 OFFSET 0
    ) AS k
    CROSS JOIN LATERAL (
        SELECT t.id FROM sfsync.record AS t
        WHERE t.id IN (k.converted_contact_id, k.master_record_id) AND t.org = $1
        UNION ALL
        SELECT s.id FROM sfsync.record AS s WHERE s.converted_contact_id = m.id AND s.org = $1
        UNION ALL
        SELECT s.id FROM sfsync.record AS s WHERE s.master_record_id = m.id AND s.org = $1
        OFFSET 0
    ) AS n
)
SELECT
    r.id, r.entity, r.own_id, r.subject_id, r.grouped, r.complete, r.is_deleted, r.modstamp_ms,
    r.master_record_id, r.converted_contact_id, r.converted_date,
    r.hold_until > clock_timestamp() AS held, r.unseen_since_ms, r.decision, r.adopted, p.sync AS row_sync,
    p.is_merged AS row_is_merged
FROM member AS m
CROSS JOIN LATERAL (
    SELECT o.* FROM sfsync.record AS o WHERE o.id = m.id AND o.org = $1 OFFSET 0
) AS r
LEFT JOIN LATERAL (
    SELECT CASE WHEN o.merged_into IS NULL THEN o.sync END AS sync, o.merged_into IS NOT NULL AS is_merged
    FROM crm.person AS o WHERE o.id = r.own_id OFFSET 0
) AS p ON true
