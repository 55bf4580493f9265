-- Say that people wait for a decision. $1 bigint[] person ids, $2 text[] reasons.
-- A row that was declined stays as it is, byte for byte. CASE keeps the condition off the scan, as in update_members.
UPDATE crm.person AS p SET sync = 'pending', sync_reason = q.reason
FROM unnest($1::bigint[], $2::text[]) AS q (id, reason)
WHERE p.id = q.id
    AND CASE WHEN q.id IS NOT NULL THEN
        p.sync <> 'declined' AND (p.sync, p.sync_reason) IS DISTINCT FROM ('pending', q.reason)
    END
