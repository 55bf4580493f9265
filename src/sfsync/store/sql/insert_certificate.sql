-- Keep the certificate of a complete sweep of one entity.
-- $1 text org, $2 text sweep id, $3 text entity, $4 text reason, $5 bigint window from, $6 bigint window to,
-- $7 bigint read, $8 bigint equal, $9 jsonb drift by reason, $10 bigint ahead, $11 bigint deferred,
-- $12 integer api calls, $13 bigint duration_ms, $14 bigint equal as of, $15 bigint settled.
INSERT INTO sfsync.sweep (
    org, sweep_id, entity, reason, window_from_ms, window_to_ms, records_read, equal, drift, ahead, deferred,
    api_calls, duration_ms, equal_as_of_ms, settled
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
