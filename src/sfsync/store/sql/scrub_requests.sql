-- Take the ids and values of an erased person or company out of requests; an open one that asks for it is refused.
-- $1 text org, $2 text pattern of what names it anywhere, $3 text pattern of what names it in a pull, or null,
-- $4 text what stands for the id from now on, $5 bigint request to leave.
WITH naming AS (
    SELECT id, COALESCE(argument ~ $2 OR kind = 'pull' AND argument ~ $3, false) AS asks_for_it
    FROM sfsync.request
    WHERE id <> $5 AND (org = $1 OR org IS NULL)
        AND (argument ~ $2 OR detail::text ~ $2 OR kind = 'pull' AND argument ~ $3)
)
UPDATE sfsync.request AS r SET
    argument = CASE WHEN n.asks_for_it THEN $4 ELSE r.argument END,
    detail = '{"error": "it named a record that was erased since"}',
    outcome = CASE WHEN n.asks_for_it THEN COALESCE(r.outcome, 'refused') ELSE r.outcome END,
    done_at = CASE WHEN n.asks_for_it THEN COALESCE(r.done_at, now()) ELSE r.done_at END
FROM naming AS n
WHERE r.id = n.id
