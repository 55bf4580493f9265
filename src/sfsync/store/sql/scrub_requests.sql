-- Take the ids and values of an erased person or company out of all requests; one that nobody has done yet is refused.
-- $1 text org, $2 text pattern of what names it, $3 text what stands for the id from now on, $4 bigint request to leave.
UPDATE sfsync.request SET
    argument = $3,
    detail = '{"error": "it named a record that was erased since"}',
    outcome = COALESCE(outcome, 'refused'),
    done_at = COALESCE(done_at, now())
WHERE id <> $4 AND (org = $1 OR org IS NULL) AND (argument ~ $2 OR detail::text ~ $2)
