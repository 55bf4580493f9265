-- Let ids mean themselves again. $1 bigint[] own ids.
DELETE FROM sfsync.identity WHERE own_id = ANY ($1::bigint[])
