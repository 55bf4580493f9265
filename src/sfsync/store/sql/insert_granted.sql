-- Remember that a role was let in. $1 text role, $2 text kind. No row.
INSERT INTO sfsync.granted (role_name, kind) VALUES ($1, $2) ON CONFLICT (role_name) DO NOTHING
