-- Forget what is older than its retention. $1 text org, $2 integer days of changes, $3 integer days of dead letters.
WITH changes AS (
    DELETE FROM sfsync.change WHERE org = $1 AND at < now() - make_interval(days => $2)
), letters AS (
    DELETE FROM sfsync.dead_letter WHERE org = $1 AND parked_at < now() - make_interval(days => $3)
), requests AS (
    DELETE FROM sfsync.request WHERE org = $1 AND done_at < now() - make_interval(days => $2)
)
DELETE FROM sfsync.sweep WHERE org = $1 AND ended_at < now() - make_interval(days => 365)
