-- Let people follow Salesforce who waited. $1 bigint[] person ids. Whoever was declined meanwhile stays declined.
UPDATE crm.person SET sync = 'synced', sync_reason = NULL WHERE id = ANY ($1::bigint[]) AND sync = 'pending'
