-- Load settings that SQL knows. $1 text[] names. One row per setting that was written: name, value.
SELECT name, value FROM sfsync.setting WHERE name = ANY ($1::text[])
