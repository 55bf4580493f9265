-- Keep what could not be applied, without any field value; once per record and reason.
-- $1 text org, then arrays: $2 entity, $3 record id, $4 reason, $5 bytea position.
INSERT INTO sfsync.dead_letter (org, entity, record_id, reason, position)
SELECT $1, s.entity, s.record_id, s.reason, s.position
FROM unnest($2::text[], $3::text[], $4::text[], $5::bytea[]) AS s (entity, record_id, reason, position)
WHERE s.record_id IS NULL OR NOT EXISTS (
    SELECT FROM sfsync.dead_letter AS d WHERE d.org = $1 AND d.record_id = s.record_id AND d.reason = s.reason
)
