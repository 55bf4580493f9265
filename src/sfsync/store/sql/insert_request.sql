-- Ask the daemon for something. $1 text org, $2 text kind, $3 text argument. One row: id.
WITH asked AS (
    INSERT INTO sfsync.request (org, kind, argument) VALUES ($1, $2, $3) RETURNING id
)
SELECT a.id, pg_notify('sfsync_request', a.id::text) FROM asked AS a
