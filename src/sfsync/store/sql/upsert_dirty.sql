-- Write the dirty marks that a batch left. The writer loaded them in this transaction, so it says all of them.
-- $1 text org, then arrays: $2 record id, $3 entity, $4 causes (joined by a comma), $5 since_ms,
-- $6 touched (joined by a comma), $7 image_touched, $8 attempts, $9 next_try_ms.
INSERT INTO sfsync.dirty AS d (
    org, record_id, entity, causes, since_ms, touched, image_touched, attempts, next_try_ms
)
SELECT
    $1, s.record_id, s.entity, string_to_array(s.causes, ','), s.since_ms,
    COALESCE(string_to_array(NULLIF(s.touched, ''), ','), '{}'), s.image_touched, s.attempts, s.next_try_ms
FROM unnest(
    $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::boolean[], $8::integer[], $9::bigint[]
) AS s (record_id, entity, causes, since_ms, touched, image_touched, attempts, next_try_ms)
ON CONFLICT (record_id, org) DO UPDATE SET
    causes = EXCLUDED.causes,
    since_ms = EXCLUDED.since_ms,
    touched = EXCLUDED.touched,
    image_touched = EXCLUDED.image_touched,
    attempts = EXCLUDED.attempts,
    next_try_ms = EXCLUDED.next_try_ms
