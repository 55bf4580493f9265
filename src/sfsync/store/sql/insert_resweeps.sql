-- Remember that an entity must be read again; survives restarts until its last page is applied.
-- $1 text org, then arrays: $2 entity, $3 in_full, $4 not_before_ms, $5 reason.
INSERT INTO sfsync.resweep AS w (org, entity, in_full, not_before_ms, reason)
SELECT DISTINCT ON (s.entity, s.in_full) $1, s.entity, s.in_full, s.not_before_ms, s.reason
FROM unnest($2::text[], $3::boolean[], $4::bigint[], $5::text[]) AS s (entity, in_full, not_before_ms, reason)
ORDER BY s.entity, s.in_full, s.not_before_ms DESC
ON CONFLICT (org, entity, in_full) DO UPDATE SET
    not_before_ms = GREATEST(w.not_before_ms, EXCLUDED.not_before_ms), reason = EXCLUDED.reason
