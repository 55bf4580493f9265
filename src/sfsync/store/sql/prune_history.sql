-- Forget what is older than its retention: of the change feed at most $4 rows at a time, the oldest first, since what
-- a long time left would outlast any statement timeout.
-- $1 text org, $2 integer days of changes, $3 integer days of dead letters, $4 integer changes at most.
-- One row: changes, the number forgotten; when it is $4 there may be more.
WITH changes AS (
    DELETE FROM sfsync.change
    WHERE seq = ANY (ARRAY(SELECT c.seq FROM sfsync.change AS c WHERE c.org = $1 ORDER BY c.seq LIMIT $4))
        AND at < now() - make_interval(days => $2)
    RETURNING 1
), letters AS (
    DELETE FROM sfsync.dead_letter WHERE org = $1 AND parked_at < now() - make_interval(days => $3)
), requests AS (
    DELETE FROM sfsync.request WHERE org = $1 AND done_at < now() - make_interval(days => $2)
), sweeps AS (
    DELETE FROM sfsync.sweep WHERE org = $1 AND ended_at < now() - make_interval(days => 365)
)
SELECT count(*) AS changes FROM changes
