-- List the records of a person or company. $1 text org, $2 bigint id, $3 text[] record ids that are known to be among
-- them: a record that is alone is found by no index but its id. One row per record, by id.
SELECT
    r.id, r.entity, r.own_id, r.subject_id, r.complete, r.is_deleted, r.decision, r.adopted, r.set_by_read,
    r.modstamp_ms, r.last_commit_ms, r.seen_to_ms, r.unseen_since_ms, r.hold_until,
    r.account_id, r.converted_contact_id, r.converted_date, r.master_record_id
FROM sfsync.record AS r
WHERE r.org = $1 AND r.id IN (
    SELECT g.id FROM sfsync.record AS g WHERE g.subject_id = $2 AND g.grouped AND g.org = $1
    UNION
    SELECT k.id FROM unnest($3::text[]) AS k (id)
)
ORDER BY r.id
