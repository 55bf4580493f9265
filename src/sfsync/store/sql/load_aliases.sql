-- List the ids that lead to a person or company without being its own. $1 text org, $2 bigint id. Rows by id: own_id.
SELECT i.own_id FROM sfsync.identity AS i WHERE i.subject_id = $2 AND i.org = $1 AND i.own_id <> $2 ORDER BY i.own_id
