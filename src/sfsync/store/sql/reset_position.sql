-- Forget the position: the stream goes on from its tip, and a sweep covers the rest.
-- $1 text org, $2 text channel, $3 bytea old position. One row if the position was still $3.
INSERT INTO sfsync.position AS p (org, channel, replay) VALUES ($1, $2, NULL)
ON CONFLICT (org, channel) DO UPDATE SET replay = NULL, moved_at = now()
WHERE p.replay IS NOT DISTINCT FROM $3
RETURNING org
