-- Tell when the last complete sweep ended. $1 text org. One row: ended_s, seconds since the epoch or null.
SELECT extract(epoch FROM max(ended_at))::float8 AS ended_s FROM sfsync.sweep WHERE org = $1
