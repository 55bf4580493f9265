-- Let every entity be loaded from the beginning. $1 text org.
UPDATE sfsync.watermark
SET backfilled_at = NULL, backfill_from_ms = NULL, backfill_after_id = '', backfill_records = 0
WHERE org = $1
