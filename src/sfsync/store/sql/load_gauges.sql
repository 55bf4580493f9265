-- Count what waits. $1 text org. One row: dirty, dirty_since (epoch seconds of the oldest mark), dead_letters, suspended.
SELECT
    (SELECT count(*) FROM sfsync.dirty WHERE org = $1) AS dirty,
    (SELECT extract(epoch FROM min(marked_at))::float8 FROM sfsync.dirty WHERE org = $1) AS dirty_since,
    (SELECT count(*) FROM sfsync.dead_letter WHERE org = $1) AS dead_letters,
    (SELECT count(*) FROM sfsync.mapped_column WHERE suspended_since IS NOT NULL) AS suspended
