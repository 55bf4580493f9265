-- Give the row of a person or company. $1 text subject (person, company), $2 bigint id.
-- At most one row: org, row (json text).
SELECT p.org, row_to_json(p)::text AS row FROM crm.person AS p WHERE $1::text = 'person' AND p.id = $2
UNION ALL
SELECT c.org, row_to_json(c)::text FROM crm.company AS c WHERE $1::text = 'company' AND c.id = $2
