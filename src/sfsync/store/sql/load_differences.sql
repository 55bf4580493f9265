-- Show what people who wait for a decision would become. $1 bigint[] person ids. One row per person and column that
-- differs: person_id, reason, is_deleted, column_name (null when there is none to show), stored_value, salesforce_value.
SELECT d.person_id, d.reason, d.is_deleted, d.column_name, d.stored_value, d.salesforce_value
FROM unnest($1::bigint[]) AS q (id)
JOIN crm.pending_decision AS d ON d.person_id = q.id
ORDER BY d.person_id, d.column_name
