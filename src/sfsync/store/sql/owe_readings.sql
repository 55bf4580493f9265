-- Owe readings of entities because the stream began at its tip.
-- $1 text org, $2 text[] entities, $3 bigint not_before_ms.
-- The recycle bin forgets after 15 days, so a watermark older than 14 calls for a reading in full.
INSERT INTO sfsync.resweep AS w (org, entity, in_full, not_before_ms, reason)
SELECT $1, e.entity, COALESCE(m.watermark_ms < $3 - 14 * 86400000::bigint, false), $3, 'tip'
FROM unnest($2::text[]) AS e (entity)
LEFT JOIN sfsync.watermark AS m ON m.org = $1 AND m.entity = e.entity
ON CONFLICT (org, entity, in_full) DO UPDATE SET not_before_ms = GREATEST(w.not_before_ms, EXCLUDED.not_before_ms)
