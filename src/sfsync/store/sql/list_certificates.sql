-- List certificates, the newest first. $1 text org, $2 text entity, null for all; $3 bigint id before which to begin
-- (null: now), $4 integer certificates at most. Rows: id and what report_sweeps gives.
SELECT
    id, entity, sweep_id, reason, window_from_ms, window_to_ms, records_read, equal, drift::text AS drift, ahead,
    deferred, settled, api_calls, duration_ms, equal_as_of_ms, ended_at
FROM sfsync.sweep
WHERE org = $1 AND ($2::text IS NULL OR entity = $2) AND ($3::bigint IS NULL OR id < $3)
ORDER BY id DESC
LIMIT $4
