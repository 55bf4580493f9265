-- Remove empty rows of the mirror that only asked for a record. $1 text org, $2 text[] record ids.
DELETE FROM sfsync.record WHERE id = ANY ($2::text[]) AND org = $1 AND NOT complete
