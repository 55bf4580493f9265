-- Tell how old the stream's positions are. $1 text org. One row per channel: channel, has_replay, moved_at, commit_ms.
SELECT channel, replay IS NOT NULL AS has_replay, moved_at, commit_ms FROM sfsync.position WHERE org = $1 ORDER BY channel
