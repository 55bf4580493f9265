-- Count people and companies. $1 text org. Two rows: subject, live, deleted, merged. Reads both tables whole.
SELECT
    'people' AS subject,
    count(*) FILTER (WHERE merged_into IS NULL AND deleted_at IS NULL) AS live,
    count(*) FILTER (WHERE merged_into IS NULL AND deleted_at IS NOT NULL) AS deleted,
    count(*) FILTER (WHERE merged_into IS NOT NULL) AS merged
FROM crm.person WHERE org = $1
UNION ALL
SELECT
    'companies',
    count(*) FILTER (WHERE merged_into IS NULL AND deleted_at IS NULL),
    count(*) FILTER (WHERE merged_into IS NULL AND deleted_at IS NOT NULL),
    count(*) FILTER (WHERE merged_into IS NOT NULL)
FROM crm.company WHERE org = $1
