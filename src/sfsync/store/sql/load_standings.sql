-- Tell how records stand: what the mirror says of each, and the person or company it is part of today.
-- $1 text org, $2 text[] record ids. One row per id. `speaker` is the record that speaks, or would if it were decided;
-- `retry_ms` is the org's instant at which the record or its speaker is read again, null when both are settled.
-- `parked` says why the store could not take it, if so. `unknown_links` are the ids these records point to that the
-- mirror does not hold.
SELECT
    q.id, r.id IS NOT NULL AS is_known, COALESCE(r.is_deleted, false) AS is_deleted, COALESCE(r.adopted, false) AS adopted,
    CASE WHEN s.id IS NULL THEN r.unseen_since_ms ELSE s.unseen_since_ms END AS unseen_since_ms,
    COALESCE(s.id, r.id) AS speaker, COALESCE(s.account_id, r.account_id) AS account_id,
    (SELECT min(d.next_try_ms) FROM sfsync.dirty AS d WHERE d.record_id IN (q.id, s.id) AND d.org = $1) AS retry_ms,
    (
        SELECT l.reason FROM sfsync.dead_letter AS l
        WHERE l.record_id IN (q.id, s.id) AND l.org = $1 ORDER BY l.id DESC LIMIT 1
    ) AS parked,
    p.id AS person_id, c.id AS company_id, p.sync, p.sync_reason,
    CASE r.entity WHEN 'Account' THEN c.deleted_at ELSE p.deleted_at END AS deleted_at, p.synced_at, c.synced_at AS company_synced_at,
    ARRAY(
        SELECT l.id
        FROM unnest(ARRAY[
            r.account_id, r.converted_contact_id, r.master_record_id,
            s.account_id, s.converted_contact_id, s.master_record_id
        ]) AS l (id)
        WHERE l.id IS NOT NULL AND NOT EXISTS (SELECT FROM sfsync.record AS k WHERE k.id = l.id AND k.org = $1)
    ) AS unknown_links
FROM unnest($2::text[]) AS q (id)
LEFT JOIN sfsync.record AS r ON r.id = q.id AND r.org = $1
LEFT JOIN crm.person AS p ON p.id = r.subject_id AND r.entity <> 'Account'
LEFT JOIN sfsync.pending AS w ON w.subject_id = p.id
LEFT JOIN crm.company AS c
    ON c.id = CASE r.entity WHEN 'Account' THEN r.subject_id ELSE p.company_id END
LEFT JOIN sfsync.record AS s
    ON s.id = COALESCE(w.speaker, p.salesforce_id, CASE WHEN p.id IS NULL THEN c.salesforce_id END) AND s.org = $1
