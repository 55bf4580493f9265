-- Have the records of imported rows read, unless Salesforce told what they are, or was asked before and nothing changed.
-- $1 text org, then arrays: $2 record id, $3 entity, $4 boolean whether the row changed anything.
-- What was never seen is proven by the first read, so `since` is 0 for it.
INSERT INTO sfsync.dirty AS d (org, record_id, entity, causes, since_ms, next_try_ms)
SELECT $1, s.id, s.entity, ARRAY['requested'], COALESCE(r.seen_to_ms, 0), 0
FROM unnest($2::text[], $3::text[], $4::boolean[]) AS s (id, entity, changed)
LEFT JOIN LATERAL (
    SELECT o.complete, o.seen_to_ms, o.unseen_since_ms
    FROM sfsync.record AS o WHERE o.id = s.id AND o.org = $1 OFFSET 0
) AS r ON true
WHERE r.complete IS NOT TRUE AND (s.changed OR r.unseen_since_ms IS NULL)
ON CONFLICT (record_id, org) DO UPDATE SET next_try_ms = EXCLUDED.next_try_ms
WHERE d.next_try_ms > EXCLUDED.next_try_ms
