-- Note that a backfill is complete. $1 text org, $2 text entity, $3 bigint watermark_ms, $4 text mapping.
INSERT INTO sfsync.watermark AS w (org, entity, watermark_ms, backfilled_at, mapping)
VALUES ($1, $2, $3, now(), $4)
ON CONFLICT (org, entity) DO UPDATE SET
    watermark_ms = EXCLUDED.watermark_ms, backfilled_at = now(), mapping = EXCLUDED.mapping
