-- Keep what could not be applied, without any field value.
-- $1 text org, then arrays: $2 entity, $3 record id, $4 reason, $5 bytea position.
INSERT INTO sfsync.dead_letter (org, entity, record_id, reason, position)
SELECT $1, s.entity, s.record_id, s.reason, s.position
FROM unnest($2::text[], $3::text[], $4::text[], $5::bytea[]) AS s (entity, record_id, reason, position)
