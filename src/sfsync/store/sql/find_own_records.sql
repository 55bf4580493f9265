-- Find the records that were given an id, or are part of whom it means. Reads the whole mirror: for ids whose row
-- names no record. $1 text org, $2 bigint id. One row per record: id.
SELECT r.id FROM sfsync.record AS r WHERE r.org = $1 AND (r.own_id = $2 OR r.subject_id = $2)
