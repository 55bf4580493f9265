-- Tell what became of requests. $1 bigint[] ids. One row per request that is done: id, argument, outcome, detail.
SELECT id, argument, outcome, detail FROM sfsync.request WHERE id = ANY ($1::bigint[]) AND done_at IS NOT NULL
