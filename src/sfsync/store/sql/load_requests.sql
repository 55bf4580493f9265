-- Tell what became of requests. $1 bigint[] ids.
-- Rows by id: id, kind, argument (a thousand characters of it), asked_by, asked_at, outcome, detail (json text), done_at.
SELECT
    q.id, q.kind, left(q.argument, 1000) AS argument, q.asked_by, q.asked_at, q.outcome, q.detail::text AS detail,
    q.done_at
FROM sfsync.request AS q WHERE q.id = ANY ($1::bigint[]) ORDER BY q.id
