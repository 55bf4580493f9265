-- Give the address that was chosen for a person. $1 bigint person id. At most one row: row (json text).
SELECT row_to_json(a)::text AS row FROM crm.person_address AS a WHERE a.person_id = $1
