-- Load what tells erased records. $1 text org. One row when the org was ever bound: erasure_key, hashes.
SELECT o.erasure_key, ARRAY(SELECT e.hash FROM sfsync.erased AS e WHERE e.org = o.id) AS hashes
FROM sfsync.org AS o
WHERE o.id = $1
