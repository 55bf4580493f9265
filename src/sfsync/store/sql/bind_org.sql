-- Bind a store that is bound to nothing. $1 text org.
INSERT INTO sfsync.org (id)
SELECT $1 WHERE NOT EXISTS (SELECT FROM sfsync.org WHERE is_bound)
ON CONFLICT DO NOTHING
