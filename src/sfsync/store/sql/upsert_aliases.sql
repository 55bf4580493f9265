-- Let ids lead to another person or company. $1 text org, $2 bigint[] own ids, $3 bigint[] subject ids.
INSERT INTO sfsync.identity AS i (org, own_id, subject_id)
SELECT $1, s.own_id, s.subject_id
FROM unnest($2::bigint[], $3::bigint[]) AS s (own_id, subject_id)
ON CONFLICT (own_id) DO UPDATE SET subject_id = EXCLUDED.subject_id
WHERE i.subject_id <> EXCLUDED.subject_id
