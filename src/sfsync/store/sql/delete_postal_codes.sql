-- Forget all postal codes, before others are loaded. No parameters, no row.
DELETE FROM sfsync.postal_code
