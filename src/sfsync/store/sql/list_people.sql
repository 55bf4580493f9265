-- List people by id. $1 text org, $2 bigint id after which to begin, $3 integer people at most.
-- Filters, null for none: $4 text sync, $5 bigint company id, $6 bigint person id, $7 timestamptz written since.
-- $8 boolean with deleted ones, $9 boolean with merged-away ones. Rows by id: id, row (json text).
SELECT p.id, row_to_json(p)::text AS row
FROM crm.person AS p
WHERE p.org = $1 AND p.id > $2
    AND ($4::text IS NULL OR p.sync = $4)
    AND ($5::bigint IS NULL OR p.company_id = $5)
    AND ($6::bigint IS NULL OR p.id = $6)
    AND ($7::timestamptz IS NULL OR p.synced_at >= $7)
    AND ($8::boolean OR p.deleted_at IS NULL)
    AND ($9::boolean OR p.merged_into IS NULL)
ORDER BY p.id
LIMIT $3
