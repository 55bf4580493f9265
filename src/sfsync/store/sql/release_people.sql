-- Let people follow Salesforce who waited, and tell the feed. $1 text org, $2 text[] origin and source,
-- $3 bigint[] person ids. Whoever was declined meanwhile stays declined.
WITH written AS (
    UPDATE crm.person SET sync = 'synced', sync_reason = NULL
    WHERE id = ANY ($3::bigint[]) AND sync = 'pending'
    RETURNING id, salesforce_id
), fed AS (
    INSERT INTO sfsync.change (org, subject, subject_id, action, origin, source, record_id, columns)
    SELECT $1, 'person', w.id, 'changed', ($2::text[])[1], ($2::text[])[2], w.salesforce_id, '{sync,sync_reason}'
    FROM written AS w
)
SELECT CASE WHEN count(*) > 0 THEN pg_notify('sfsync_change', $1) END FROM written
