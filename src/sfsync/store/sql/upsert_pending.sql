-- Keep open questions, and a row for each person that has none yet.
-- $1 text org, then arrays: $2 person id, $3 record that would speak, $4 lasting lead, $5 reason.
WITH asked AS (
    SELECT q.subject_id, q.speaker, q.lead, q.reason
    FROM unnest($2::bigint[], $3::text[], $4::text[], $5::text[]) AS q (subject_id, speaker, lead, reason)
), placed AS (
    INSERT INTO crm.person (id, org, salesforce_id, source, sync, sync_reason)
    SELECT a.subject_id, $1, a.speaker, CASE left(a.speaker, 3) WHEN '00Q' THEN 'lead' ELSE 'contact' END,
        'pending', a.reason
    FROM asked AS a
    ON CONFLICT (id) DO NOTHING
)
INSERT INTO sfsync.pending AS p (subject_id, org, speaker, lead, reason)
SELECT a.subject_id, $1, a.speaker, a.lead, a.reason FROM asked AS a
ON CONFLICT (subject_id) DO UPDATE SET speaker = EXCLUDED.speaker, lead = EXCLUDED.lead, reason = EXCLUDED.reason
WHERE (p.speaker, p.lead, p.reason) IS DISTINCT FROM (EXCLUDED.speaker, EXCLUDED.lead, EXCLUDED.reason)
