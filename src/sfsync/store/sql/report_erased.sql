-- Count erased records. $1 text org. One row: records, last_at.
SELECT count(*) AS records, max(erased_at) AS last_at FROM sfsync.erased WHERE org = $1
