-- Forget that a record was erased. $1 text org, $2 bytea hash.
DELETE FROM sfsync.erased WHERE org = $1 AND hash = $2
