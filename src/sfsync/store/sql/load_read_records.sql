-- As load_records, and tell for each record whether a read says exactly what the mirror says.
-- $1 text org, $2 text[] record ids, $3 jsonb[] fields read, $4 boolean[] IsDeleted, $5 text[] MasterRecordId.
SELECT
    q.id, r.ctid AS place, r.complete, r.is_deleted, r.master_record_id, r.set_by_read, r.seen_from_ms, r.seen_to_ms,
    r.last_commit_ms, r.modstamp_ms, r.unseen_since_ms,
    r.fields = q.fields AND r.is_deleted = q.is_deleted
        AND r.master_record_id IS NOT DISTINCT FROM q.master AS equal,
    r.own_id, r.subject_id,
    r.grouped OR r.hold_until IS NOT NULL OR r.converted_contact_id IS NOT NULL OR r.decision <> 'synced' AS is_linked,
    r.converted_contact_id, r.adopted,
    d.causes, d.since_ms, d.touched, d.image_touched, d.attempts, d.next_try_ms,
    (SELECT e.epoch FROM sfsync.epoch AS e WHERE e.org = $1 FOR SHARE) AS epoch
FROM unnest($2::text[], $3::jsonb[], $4::boolean[], $5::text[]) AS q (id, fields, is_deleted, master)
LEFT JOIN sfsync.record AS r ON r.id = q.id AND r.org = $1
LEFT JOIN sfsync.dirty AS d ON d.record_id = q.id AND d.org = $1
