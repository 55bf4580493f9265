-- Tell what a changed choice of who is adopted would touch. $1 text org.
-- One row: adopt and mirror as they were followed last (null: never), records that nobody adopted.
SELECT
    (SELECT s.value FROM sfsync.setting AS s WHERE s.name = 'adopt') AS adopt,
    (SELECT s.value FROM sfsync.setting AS s WHERE s.name = 'mirror') AS mirror,
    (SELECT count(*) FROM sfsync.record AS r WHERE r.org = $1 AND NOT r.adopted) AS unadopted
