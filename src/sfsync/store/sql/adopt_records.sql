-- Let records become people and companies from now on. $1 text org, $2 text[] record ids.
UPDATE sfsync.record SET adopted = true WHERE id = ANY ($2::text[]) AND org = $1 AND NOT adopted
