-- Let dirty records be read at once, whatever they waited for. $1 text org, $2 text[] record ids.
UPDATE sfsync.dirty SET next_try_ms = 0 WHERE record_id = ANY ($2::text[]) AND org = $1
