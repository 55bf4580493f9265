-- Write what a batch made of records that the mirror knows. {source} is the batch (see store/staging.py).
-- $1 text org, $2 float8 seconds that a projection waits for its other half.
-- One row: how many rows were written.
-- The contact that a lead was converted to is permanent: its first value is the edge for ever.
-- A row is written only where this transaction loaded it (its place): nobody else writes the mirror meanwhile, and if
-- somebody did, the count below tells. The org is that of the loaded rows; asked for here, it would invite the
-- planner to read all rows of the org when the table has no statistics yet.
WITH written AS (
    UPDATE sfsync.record AS r SET
        fields = CASE
            WHEN s.replaced THEN s.over
            WHEN s.under IS NULL THEN r.fields || s.over
            ELSE s.under || r.fields || s.over
        END,
        complete = s.complete,
        is_deleted = s.is_deleted,
        set_by_read = s.set_by_read,
        seen_from_ms = s.seen_from_ms,
        seen_to_ms = s.seen_to_ms,
        last_commit_ms = s.last_commit_ms,
        modstamp_ms = s.modstamp_ms,
        unseen_since_ms = s.unseen_since_ms,
        turned_ms = COALESCE(s.turned_ms, r.turned_ms),
        own_id = COALESCE(r.own_id, s.own_id),
        subject_id = COALESCE(r.subject_id, s.own_id),
        hold_until = CASE WHEN s.hold THEN now() + make_interval(secs => $2) ELSE r.hold_until END,
        account_id = CASE
            WHEN s.over ? 'AccountId' THEN s.over ->> 'AccountId'
            WHEN s.under IS NULL OR r.fields ? 'AccountId' THEN r.account_id
            ELSE s.under ->> 'AccountId'
        END,
        converted_contact_id = COALESCE(
            r.converted_contact_id, s.over ->> 'ConvertedContactId', s.under ->> 'ConvertedContactId'
        ),
        converted_date = COALESCE(s.over ->> 'ConvertedDate', r.converted_date, s.under ->> 'ConvertedDate'),
        master_record_id = s.master_record_id
    FROM {source}
    WHERE r.ctid = s.place AND r.id = s.id AND $1::text IS NOT NULL
    RETURNING 1
)
SELECT count(*) FROM written
