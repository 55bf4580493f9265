-- Tell how far the channel was applied. $1 text org, $2 text channel. At most one row: replay, commit_ms, moved_at.
SELECT replay, commit_ms, moved_at FROM sfsync.position WHERE org = $1 AND channel = $2
