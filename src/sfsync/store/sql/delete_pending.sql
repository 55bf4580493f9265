-- Forget questions that are none any more. $1 bigint[] person ids.
DELETE FROM sfsync.pending WHERE subject_id = ANY ($1::bigint[])
