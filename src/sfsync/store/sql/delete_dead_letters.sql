-- Forget dead letters of records that are clean again. $1 text org, $2 text[] record ids.
DELETE FROM sfsync.dead_letter WHERE org = $1 AND record_id = ANY ($2::text[])
