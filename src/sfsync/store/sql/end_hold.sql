-- Let a record wait no longer for its other half. $1 text org, $2 text record id.
UPDATE sfsync.record SET hold_until = NULL WHERE id = $2 AND org = $1
