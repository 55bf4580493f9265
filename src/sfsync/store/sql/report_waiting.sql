-- Count what waits for something. $1 text org.
-- One row: dirty, dirty_since, dead_letters, dead_letter_since, requests, request_since, resweeps.
SELECT
    (SELECT count(*) FROM sfsync.dirty WHERE org = $1) AS dirty,
    (SELECT min(marked_at) FROM sfsync.dirty WHERE org = $1) AS dirty_since,
    (SELECT count(*) FROM sfsync.dead_letter WHERE org = $1) AS dead_letters,
    (SELECT min(parked_at) FROM sfsync.dead_letter WHERE org = $1) AS dead_letter_since,
    (SELECT count(*) FROM sfsync.request WHERE done_at IS NULL AND (org IS NULL OR org = $1)) AS requests,
    (SELECT min(asked_at) FROM sfsync.request WHERE done_at IS NULL AND (org IS NULL OR org = $1)) AS request_since,
    (SELECT count(*) FROM sfsync.resweep WHERE org = $1) AS resweeps
