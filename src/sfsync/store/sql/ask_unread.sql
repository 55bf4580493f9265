-- Note that imported people wait until their record was read. $1 text org, $2 bigint[] person ids, $3 text[] record ids.
INSERT INTO sfsync.pending (subject_id, org, speaker, reason)
SELECT s.id, $1, s.record_id, 'unread' FROM unnest($2::bigint[], $3::text[]) AS s (id, record_id)
ON CONFLICT (subject_id) DO NOTHING
