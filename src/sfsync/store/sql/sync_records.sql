-- Let records follow Salesforce that waited although nothing differs. $1 text org, $2 text[] record ids.
UPDATE sfsync.record SET decision = 'synced' WHERE id = ANY ($2::text[]) AND org = $1 AND decision = 'pending'
