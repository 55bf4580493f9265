-- Move the watermark and end the readings that this sweep satisfies.
-- $1 text org, $2 text entity, $3 bigint watermark_ms, $4 text mapping when the entity was read in full, else null,
-- $5 bigint instant the sweep began.
WITH moved AS (
    UPDATE sfsync.watermark SET watermark_ms = GREATEST(watermark_ms, $3), mapping = COALESCE($4, mapping)
    WHERE org = $1 AND entity = $2
)
DELETE FROM sfsync.resweep
WHERE org = $1 AND entity = $2 AND not_before_ms <= $5 AND (NOT in_full OR $4 IS NOT NULL)
