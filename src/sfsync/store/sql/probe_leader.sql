-- Tell who leads an org, and whether that process is there now. $1 text org, $2 bigint key of its advisory lock.
-- One row: epoch, holder, taken_at (null when nobody ever led), is_led. Takes no lock.
SELECT
    e.epoch, e.holder, e.taken_at,
    EXISTS (
        SELECT FROM pg_locks
        WHERE locktype = 'advisory' AND objsubid = 1 AND granted
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND classid = (($2::bigint >> 32) & 4294967295)::oid AND objid = ($2::bigint & 4294967295)::oid
    ) AS is_led
FROM (SELECT 1) AS always
LEFT JOIN sfsync.epoch AS e ON e.org = $1
