-- Count what the store holds of a person or company, table by table.
-- $1 text org, $2 text[] record ids, $3 bigint[] own ids, $4 text pattern of requests that name any of them,
-- $5 text pattern of pulls that do, or null.
-- One row: a column per table; `people_of_company` are people who stay and lose their company.
SELECT
    (SELECT count(*) FROM sfsync.record WHERE id = ANY ($2) AND org = $1) AS record,
    (SELECT count(*) FROM crm.person WHERE id = ANY ($3)) AS person,
    (SELECT count(*) FROM crm.company WHERE id = ANY ($3)) AS company,
    (SELECT count(*) FROM sfsync.identity WHERE own_id = ANY ($3) OR subject_id = ANY ($3)) AS identity,
    (SELECT count(*) FROM sfsync.change WHERE subject_id = ANY ($3)) AS change,
    (SELECT count(*) FROM sfsync.pending WHERE subject_id = ANY ($3)) AS pending,
    (SELECT count(*) FROM sfsync.decision WHERE person_id = ANY ($3)) AS decision,
    (SELECT count(*) FROM sfsync.dirty WHERE record_id = ANY ($2) AND org = $1) AS dirty,
    (SELECT count(*) FROM sfsync.dead_letter WHERE record_id = ANY ($2) AND org = $1) AS dead_letter,
    (SELECT count(*) FROM sfsync.import_row WHERE record_id = ANY ($2)) AS import_row,
    (SELECT count(*) FROM sfsync.request
        WHERE (org = $1 OR org IS NULL)
            AND (argument ~ $4 OR detail::text ~ $4 OR kind = 'pull' AND argument ~ $5)) AS request,
    (SELECT count(*) FROM crm.person WHERE company_id = ANY ($3)) AS people_of_company
