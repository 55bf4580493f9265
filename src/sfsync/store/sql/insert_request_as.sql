-- Ask the daemon for something in somebody's name. $1 text org, $2 text kind, $3 text argument, $4 text who asks.
-- One row: id.
WITH asked AS (
    INSERT INTO sfsync.request (org, kind, argument, asked_by) VALUES ($1, $2, $3, $4) RETURNING id
)
SELECT a.id, pg_notify('sfsync_request', a.id::text) FROM asked AS a
