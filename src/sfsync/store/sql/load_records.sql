-- Load what the ordering rule needs to know of the records that a batch names, and hold the org's epoch against a
-- successor until the transaction ends.
-- $1 text org, $2 text[] record ids. One row per id, in no order; columns are null where nothing is known.
-- Locks the epoch row FOR SHARE. The order of columns is that of store/loading.py.
SELECT
    q.id, r.ctid AS place, r.complete, r.is_deleted, r.master_record_id, r.set_by_read, r.seen_from_ms, r.seen_to_ms,
    r.last_commit_ms, r.modstamp_ms, r.unseen_since_ms, false AS equal, r.own_id, r.subject_id,
    r.grouped OR r.hold_until IS NOT NULL OR r.converted_contact_id IS NOT NULL OR r.decision <> 'synced' AS is_linked,
    r.converted_contact_id, r.adopted,
    d.causes, d.since_ms, d.touched, d.image_touched, d.attempts, d.next_try_ms,
    (SELECT e.epoch FROM sfsync.epoch AS e WHERE e.org = $1 FOR SHARE) AS epoch
FROM unnest($2::text[]) AS q (id)
LEFT JOIN sfsync.record AS r ON r.id = q.id AND r.org = $1
LEFT JOIN sfsync.dirty AS d ON d.record_id = q.id AND d.org = $1
