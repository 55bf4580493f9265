-- Remove what sfsync itself holds of a person or company, and leave the keyed hash of each record.
-- $1 text org, $2 text[] record ids, $3 bigint[] own ids, $4 bytea[] hash of each record.
-- One row: a column per table, the number of rows removed. Rows that are about others only lose the id.
WITH hashed AS (
    INSERT INTO sfsync.erased (org, hash) SELECT $1, h.hash FROM unnest($4::bytea[]) AS h (hash)
    ON CONFLICT (org, hash) DO NOTHING
), records AS (
    DELETE FROM sfsync.record WHERE id = ANY ($2::text[]) AND org = $1 RETURNING 1
), aliases AS (
    DELETE FROM sfsync.identity WHERE own_id = ANY ($3::bigint[]) OR subject_id = ANY ($3) RETURNING 1
), changes AS (
    DELETE FROM sfsync.change WHERE subject_id = ANY ($3) RETURNING 1
), changes_of_others AS (
    UPDATE sfsync.change SET record_id = NULL
    WHERE org = $1 AND record_id = ANY ($2) AND subject_id <> ALL ($3)
), pendings AS (
    DELETE FROM sfsync.pending WHERE subject_id = ANY ($3) RETURNING 1
), decisions AS (
    DELETE FROM sfsync.decision WHERE person_id = ANY ($3) RETURNING 1
), decisions_on_others AS (
    UPDATE sfsync.decision
    SET record_ids = ARRAY(SELECT one FROM unnest(record_ids) AS one WHERE one <> ALL ($2))
    WHERE org = $1 AND record_ids && $2 AND person_id <> ALL ($3)
), marks AS (
    DELETE FROM sfsync.dirty WHERE record_id = ANY ($2) AND org = $1 RETURNING 1
), letters AS (
    DELETE FROM sfsync.dead_letter WHERE record_id = ANY ($2) AND org = $1 RETURNING 1
), imported AS (
    DELETE FROM sfsync.import_row WHERE record_id = ANY ($2) RETURNING 1
), imported_with_company AS (
    UPDATE sfsync.import_row SET company_id = NULL, company_cells = '{}' WHERE company_id = ANY ($2)
), cursors AS (
    -- A backfill that stands at this record goes on a little before it: reading some records twice does no harm.
    UPDATE sfsync.watermark
    SET backfill_after_id = CASE WHEN backfilled_at IS NULL THEN left(backfill_after_id, 8) || '0000000' ELSE '' END
    WHERE org = $1 AND backfill_after_id = ANY ($2)
)
SELECT
    (SELECT count(*) FROM records) AS record,
    (SELECT count(*) FROM aliases) AS identity,
    (SELECT count(*) FROM changes) AS change,
    (SELECT count(*) FROM pendings) AS pending,
    (SELECT count(*) FROM decisions) AS decision,
    (SELECT count(*) FROM marks) AS dirty,
    (SELECT count(*) FROM letters) AS dead_letter,
    (SELECT count(*) FROM imported) AS import_row
