-- Say whether a person follows Salesforce. $1 bigint any of its ids. One row: id, sync, sync_reason.
SELECT p.id, p.sync, p.sync_reason FROM crm.person AS p WHERE p.id = crm.resolve_person($1)
