-- Add records that the mirror does not know. {source} is the batch (see store/staging.py).
-- $1 text org, $2 float8 seconds that a projection waits for its other half.
INSERT INTO sfsync.record (
    org, id, entity, fields, complete, is_deleted, set_by_read, seen_from_ms, seen_to_ms, last_commit_ms,
    modstamp_ms, unseen_since_ms, turned_ms, own_id, subject_id, hold_until, adopted,
    account_id, converted_contact_id, converted_date, master_record_id
)
SELECT
    $1, s.id, s.entity, COALESCE(s.under || s.over, s.over), s.complete, s.is_deleted, s.set_by_read, s.seen_from_ms,
    s.seen_to_ms, s.last_commit_ms, s.modstamp_ms, s.unseen_since_ms, s.turned_ms, s.own_id, s.own_id,
    CASE WHEN s.hold THEN now() + make_interval(secs => $2) END,
    s.adopted,
    COALESCE(s.over ->> 'AccountId', s.under ->> 'AccountId'),
    COALESCE(s.over ->> 'ConvertedContactId', s.under ->> 'ConvertedContactId'),
    COALESCE(s.over ->> 'ConvertedDate', s.under ->> 'ConvertedDate'),
    s.master_record_id
FROM {source}
WHERE s.place IS NULL
