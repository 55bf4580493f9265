-- Say why somebody waits for a decision, or why there is nothing to follow although nobody asks. $1 bigint any of its ids.
-- One row: reason; null, or no row, when nothing stands in the way.
SELECT COALESCE(
    (SELECT q.reason FROM sfsync.pending AS q WHERE q.subject_id = p.id),
    (
        SELECT CASE
            WHEN bool_or(r.complete OR r.is_deleted) THEN NULL
            WHEN bool_or(r.unseen_since_ms IS NULL) THEN 'unread'
            ELSE 'absent'
        END
        FROM sfsync.record AS r
        WHERE r.org = p.org AND (r.id = p.salesforce_id OR r.subject_id = p.id AND r.grouped)
    )
) AS reason
FROM crm.person AS p WHERE p.id = crm.resolve_person($1)
