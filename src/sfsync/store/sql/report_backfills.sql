-- Tell how far each entity was read for the first time. $1 text org.
-- One row per entity that was begun: entity, records, backfilled_at, watermark_ms.
SELECT entity, backfill_records AS records, backfilled_at, watermark_ms FROM sfsync.watermark WHERE org = $1 ORDER BY entity
