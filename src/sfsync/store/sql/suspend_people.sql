-- Say that people wait for a decision, and tell the feed. $1 text org, $2 text[] origin and source, then arrays:
-- $3 person id, $4 reason.
-- A row that was declined stays as it is, byte for byte. CASE keeps the condition off the scan, as in update_members.
WITH written AS (
    UPDATE crm.person AS p SET sync = 'pending', sync_reason = q.reason
    FROM unnest($3::bigint[], $4::text[]) AS q (id, reason)
    WHERE p.id = q.id
        AND CASE WHEN q.id IS NOT NULL THEN
            p.sync <> 'declined' AND (p.sync, p.sync_reason) IS DISTINCT FROM ('pending', q.reason)
        END
    RETURNING p.id, p.salesforce_id
), fed AS (
    INSERT INTO sfsync.change (org, subject, subject_id, action, origin, source, record_id, columns)
    SELECT $1, 'person', w.id, 'changed', ($2::text[])[1], ($2::text[])[2], w.salesforce_id, '{sync,sync_reason}'
    FROM written AS w
)
SELECT CASE WHEN count(*) > 0 THEN pg_notify('sfsync_change', $1) END FROM written
