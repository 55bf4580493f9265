-- Keep one setting for SQL. $1 text name, $2 text value. No row; nothing is written when it is so already.
INSERT INTO sfsync.setting AS s (name, value) VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET value = EXCLUDED.value WHERE s.value <> EXCLUDED.value
