-- Note one page of a backfill; under another mapping than before its count begins anew.
-- $1 text org, $2 text entity, $3 bigint instant it began, $4 text last id, $5 bigint records of the page,
-- $6 text mapping.
INSERT INTO sfsync.watermark AS w (org, entity, backfill_from_ms, backfill_after_id, backfill_records, mapping)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (org, entity) DO UPDATE SET
    backfill_from_ms = EXCLUDED.backfill_from_ms,
    backfill_after_id = EXCLUDED.backfill_after_id,
    backfill_records = EXCLUDED.backfill_records
        + CASE WHEN w.mapping = EXCLUDED.mapping THEN w.backfill_records ELSE 0 END,
    mapping = EXCLUDED.mapping
