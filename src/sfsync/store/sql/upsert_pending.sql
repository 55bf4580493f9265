-- Keep open questions, and a row for each person that has none yet, which the feed is told.
-- $1 text org, $2 text[] origin and source, then arrays: $3 person id, $4 record that would speak, $5 lasting lead,
-- $6 reason, $7 row shown.
WITH asked AS (
    SELECT q.subject_id, q.speaker, q.lead, q.reason, q.row_id
    FROM unnest($3::bigint[], $4::text[], $5::text[], $6::text[], $7::bigint[])
        AS q (subject_id, speaker, lead, reason, row_id)
), placed AS (
    INSERT INTO crm.person (id, org, salesforce_id, source, sync, sync_reason)
    SELECT a.subject_id, $1, a.speaker, CASE left(a.speaker, 3) WHEN '00Q' THEN 'lead' ELSE 'contact' END,
        'pending', a.reason
    FROM asked AS a
    ON CONFLICT (id) DO NOTHING
    RETURNING id, salesforce_id
), fed AS (
    INSERT INTO sfsync.change (org, subject, subject_id, action, origin, source, record_id)
    SELECT $1, 'person', p.id, 'created', ($2::text[])[1], ($2::text[])[2], p.salesforce_id FROM placed AS p
), kept AS (
    INSERT INTO sfsync.pending AS p (subject_id, org, speaker, lead, reason, row_id)
    SELECT a.subject_id, $1, a.speaker, a.lead, a.reason, a.row_id FROM asked AS a
    ON CONFLICT (subject_id) DO UPDATE SET
        speaker = EXCLUDED.speaker, lead = EXCLUDED.lead, reason = EXCLUDED.reason, row_id = EXCLUDED.row_id
    WHERE (p.speaker, p.lead, p.reason, p.row_id)
        IS DISTINCT FROM (EXCLUDED.speaker, EXCLUDED.lead, EXCLUDED.reason, EXCLUDED.row_id)
)
SELECT CASE WHEN count(*) > 0 THEN pg_notify('sfsync_change', $1) END FROM placed
