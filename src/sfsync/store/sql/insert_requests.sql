-- Ask the daemon for several things of one kind. $1 text org, $2 text kind, $3 text[] arguments, $4 double precision
-- seconds until nobody waits any more (null: never). One row per argument, in their order: id, argument.
WITH asked AS (
    INSERT INTO sfsync.request (org, kind, argument, expires_at)
    SELECT $1, $2, a.argument, now() + make_interval(secs => $4::double precision)
    FROM unnest($3::text[]) WITH ORDINALITY AS a (argument, place)
    ORDER BY a.place
    RETURNING id, argument
)
SELECT a.id, a.argument, pg_notify('sfsync_request', '') FROM asked AS a ORDER BY a.id
