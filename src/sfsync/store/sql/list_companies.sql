-- List companies by id. $1 text org, $2 bigint id after which to begin, $3 integer companies at most.
-- Filters, null for none: $4 bigint company id, $5 timestamptz written since.
-- $6 boolean with deleted ones, $7 boolean with merged-away ones. Rows by id: id, row (json text).
SELECT c.id, row_to_json(c)::text AS row
FROM crm.company AS c
WHERE c.org = $1 AND c.id > $2
    AND ($4::bigint IS NULL OR c.id = $4)
    AND ($5::timestamptz IS NULL OR c.synced_at >= $5)
    AND ($6::boolean OR c.deleted_at IS NULL)
    AND ($7::boolean OR c.merged_into IS NULL)
ORDER BY c.id
LIMIT $3
