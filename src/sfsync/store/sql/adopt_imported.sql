-- Let imported records become people and companies: those that nobody told us about get a row that is not known yet.
-- $1 text org, $2 text[] record ids, $3 text[] entities, $4 bigint[] own ids for those that have none, $5 text decision.
INSERT INTO sfsync.record AS r (
    org, id, entity, complete, is_deleted, set_by_read, seen_from_ms, seen_to_ms, own_id, subject_id, adopted, decision
)
SELECT $1, s.id, s.entity, false, false, false, 0, 0, s.own_id, s.own_id, true, $5
FROM unnest($2::text[], $3::text[], $4::bigint[]) AS s (id, entity, own_id)
ON CONFLICT (id, org) DO UPDATE SET
    own_id = COALESCE(r.own_id, EXCLUDED.own_id),
    subject_id = COALESCE(r.subject_id, EXCLUDED.own_id),
    adopted = true,
    decision = EXCLUDED.decision
