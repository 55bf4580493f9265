-- Give the certificates of sweeps. $1 text org, $2 text[] sweep ids.
-- One row per sweep and entity: sweep_id, entity, id, equal_as_of_ms, ended_at.
SELECT s.sweep_id, s.entity, s.id, s.equal_as_of_ms, s.ended_at
FROM sfsync.sweep AS s WHERE s.org = $1 AND s.sweep_id = ANY ($2::text[])
