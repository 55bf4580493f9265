-- Begin a file of people. $1 text org, $2 text[] columns of people, $3 text[] columns of companies,
-- $4 text address preference. One row: id.
INSERT INTO sfsync.import_file (org, person_columns, company_columns, address_preference)
VALUES ($1, $2, $3, $4)
RETURNING id
