-- Say why a person waits for a decision. $1 bigint any of its ids. One row when it does: reason.
SELECT p.reason FROM sfsync.pending AS p WHERE p.subject_id = crm.resolve_person($1)
