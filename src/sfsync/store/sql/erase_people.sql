-- Remove the rows of a person and say in the feed, by its bare ids, that they are gone.
-- $1 text org, $2 bigint[] own ids, $3 text who asked. One row: person, the number of rows removed.
WITH gone AS (
    DELETE FROM crm.person WHERE id = ANY ($2::bigint[]) RETURNING id
), fed AS (
    INSERT INTO sfsync.change (org, subject, subject_id, action, origin, source)
    SELECT $1, 'person', g.id, 'purged', 'purge', $3 FROM gone AS g
)
SELECT count(*) AS person, pg_notify('sfsync_change', $1) FROM gone
