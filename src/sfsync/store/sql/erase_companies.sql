-- Remove the rows of a company, take it from its people, and say both in the feed.
-- $1 text org, $2 bigint[] own ids, $3 text who asked. One row: company, people_of_company.
WITH detached AS (
    UPDATE crm.person SET company_id = NULL, synced_at = now()
    WHERE company_id = ANY ($2::bigint[])
    RETURNING id
), gone AS (
    DELETE FROM crm.company WHERE id = ANY ($2) RETURNING id
), fed AS (
    INSERT INTO sfsync.change (org, subject, subject_id, action, origin, columns, source)
    SELECT $1, 'person', d.id, 'changed', 'purge', '{company_id}'::text[], $3 FROM detached AS d
    UNION ALL
    SELECT $1, 'company', g.id, 'purged', 'purge', NULL, $3 FROM gone AS g
)
SELECT
    (SELECT count(*) FROM gone) AS company,
    (SELECT count(*) FROM detached) AS people_of_company,
    pg_notify('sfsync_change', $1)
