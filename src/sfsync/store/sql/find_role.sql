-- Find a role of the server. $1 text name. One row or none: kind, as which it was let in, null when it was not.
SELECT g.kind
FROM pg_roles AS r
LEFT JOIN sfsync.granted AS g ON g.role_name = r.rolname
WHERE r.rolname = $1
