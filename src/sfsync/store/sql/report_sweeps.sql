-- Give the last certificate of each entity. $1 text org, $2 text sweep id: of that sweep only, null: of any.
-- One row per entity that has one.
SELECT DISTINCT ON (entity)
    entity, sweep_id, reason, window_from_ms, window_to_ms, records_read, equal, drift::text AS drift, ahead, deferred,
    settled, api_calls, duration_ms, equal_as_of_ms, ended_at
FROM sfsync.sweep WHERE org = $1 AND ($2::text IS NULL OR sweep_id = $2)
ORDER BY entity, id DESC
