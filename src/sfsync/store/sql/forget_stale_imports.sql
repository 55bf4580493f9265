-- Forget files that nobody waits for any more: whoever staged them died, or did not fetch what became of them.
-- $1 text org.
WITH stale AS (
    DELETE FROM sfsync.import_file AS f
    WHERE f.org = $1 AND f.staged_at < now() - interval '1 day'
        AND NOT EXISTS (
            SELECT FROM sfsync.request AS q
            WHERE q.kind = 'import' AND q.done_at IS NULL AND q.argument = f.id::text
        )
    RETURNING f.id
)
DELETE FROM sfsync.import_row AS r WHERE r.import_id IN (SELECT s.id FROM stale AS s)
