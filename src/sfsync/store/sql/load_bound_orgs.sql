-- List the orgs that this store is bound to. One row each: id, bound_at, rebound_from.
SELECT id, bound_at, rebound_from FROM sfsync.org WHERE is_bound ORDER BY bound_at
