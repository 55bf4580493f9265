-- Tell how far each entity was read. $1 text org. One row per entity that was begun.
SELECT entity, watermark_ms, backfill_from_ms, backfill_after_id, backfill_records, backfilled_at, mapping
FROM sfsync.watermark WHERE org = $1
