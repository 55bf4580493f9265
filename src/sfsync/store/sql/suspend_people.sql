-- Say that people wait for a decision. $1 bigint[] person ids, $2 text[] reasons.
-- A row that was declined stays as it is, byte for byte.
UPDATE crm.person AS p SET sync = 'pending', sync_reason = q.reason
FROM unnest($1::bigint[], $2::text[]) AS q (id, reason)
WHERE p.id = q.id AND p.sync <> 'declined' AND (p.sync, p.sync_reason) IS DISTINCT FROM ('pending', q.reason)
