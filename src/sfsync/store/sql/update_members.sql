-- Say which person or company each record belongs to now, and end its waiting.
-- $1 text org, $2 text[] record ids, $3 bigint[] subject ids, $4 boolean[] grouped with others.
-- CASE keeps the condition off the scan: where the planner expects few rows to fulfil it, it begins with the whole
-- mirror and looks through the ids once per row.
UPDATE sfsync.record AS r SET subject_id = s.subject_id, grouped = s.grouped, hold_until = NULL
FROM unnest($2::text[], $3::bigint[], $4::boolean[]) AS s (id, subject_id, grouped)
WHERE r.id = s.id AND r.org = $1
    AND CASE WHEN s.id IS NOT NULL THEN
        r.subject_id IS DISTINCT FROM s.subject_id OR r.grouped <> s.grouped OR r.hold_until IS NOT NULL
    END
