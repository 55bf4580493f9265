-- Load what a daemon told last of its work. $1 text org. At most one row: told (json as text), told_at.
SELECT told::text AS told, told_at FROM sfsync.figures WHERE org = $1
