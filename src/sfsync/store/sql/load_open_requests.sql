-- List requests that nobody has done yet, the oldest first. Of pulls there may be a flood, so they are counted apart.
-- $1 text org, $2 bigint[] ids of those that are being served, $3 integer most pulls, $4 integer most others.
-- id, kind, argument, asked_by, left_s (seconds until nobody waits any more; null: never).
(
    SELECT id, kind, argument, asked_by, extract(epoch FROM expires_at - now())::double precision AS left_s
    FROM sfsync.request
    WHERE done_at IS NULL AND (org IS NULL OR org = $1) AND kind <> 'pull'
        AND id NOT IN (SELECT unnest($2::bigint[]))
    ORDER BY id
    LIMIT $4
)
UNION ALL
(
    SELECT id, kind, argument, asked_by, extract(epoch FROM expires_at - now())::double precision
    FROM sfsync.request
    WHERE done_at IS NULL AND (org IS NULL OR org = $1) AND kind = 'pull'
        AND id NOT IN (SELECT unnest($2::bigint[]))
    ORDER BY id
    LIMIT $3
)
