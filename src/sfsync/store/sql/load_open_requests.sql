-- List requests that nobody has done yet. $1 text org. Oldest first: id, kind, argument, asked_by.
SELECT id, kind, argument, asked_by FROM sfsync.request
WHERE done_at IS NULL AND (org IS NULL OR org = $1)
ORDER BY id
LIMIT 1000
