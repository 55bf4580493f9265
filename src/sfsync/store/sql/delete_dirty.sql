-- End dirty marks. $1 text org, $2 text[] record ids.
DELETE FROM sfsync.dirty WHERE record_id = ANY ($2::text[]) AND org = $1
