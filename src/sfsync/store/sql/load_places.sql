-- Say where rows of the mirror lie now, for the rest of this transaction. $1 text org, $2 text[] record ids.
SELECT id, ctid FROM sfsync.record WHERE id = ANY ($2::text[]) AND org = $1
