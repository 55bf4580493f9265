-- Note one page of a backfill. $1 text org, $2 text entity, $3 bigint instant it began, $4 text last id,
-- $5 bigint records of the page.
INSERT INTO sfsync.watermark AS w (org, entity, backfill_from_ms, backfill_after_id, backfill_records)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (org, entity) DO UPDATE SET
    backfill_from_ms = EXCLUDED.backfill_from_ms,
    backfill_after_id = EXCLUDED.backfill_after_id,
    backfill_records = w.backfill_records + EXCLUDED.backfill_records
