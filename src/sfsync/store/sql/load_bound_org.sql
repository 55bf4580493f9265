-- Tell which org this store is bound to. At most one row: id, bound_at.
SELECT id, bound_at FROM sfsync.org WHERE is_bound
