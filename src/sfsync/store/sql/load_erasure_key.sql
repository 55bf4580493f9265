-- Load the key that erased records are hashed with. $1 text org. At most one row: erasure_key.
SELECT erasure_key FROM sfsync.org WHERE id = $1
