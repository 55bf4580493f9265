-- Move the position, if it is still where this session believes it to be.
-- $1 text org, $2 text channel, $3 bytea old, $4 bytea new, $5 bigint commit_ms of the last event.
UPDATE sfsync.position SET replay = $4, commit_ms = GREATEST($5, commit_ms), moved_at = now()
WHERE org = $1 AND channel = $2 AND replay IS NOT DISTINCT FROM $3
