-- Load a file of people. $1 text org, $2 bigint id. At most one row: person_columns, company_columns,
-- address_preference, taken (json text), rows_left.
SELECT
    f.person_columns, f.company_columns, f.address_preference, f.taken::text AS taken,
    (SELECT count(*) FROM sfsync.import_row AS r WHERE r.import_id = f.id AND r.reason IS NULL) AS rows_left
FROM sfsync.import_file AS f
WHERE f.org = $1 AND f.id = $2
