-- Tell which of these hashes are those of erased records. $1 text org, $2 bytea[] hashes. One row for each: hash.
SELECT e.hash FROM sfsync.erased AS e WHERE e.org = $1 AND e.hash = ANY ($2::bytea[])
