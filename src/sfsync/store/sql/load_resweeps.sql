-- List the readings that are owed. $1 text org. Oldest first: entity, in_full, not_before_ms, reason.
SELECT entity, in_full, not_before_ms, reason FROM sfsync.resweep WHERE org = $1 ORDER BY asked_at, entity
