-- Bind the store to an org, known or not. $1 text org, $2 text the org it was bound to.
INSERT INTO sfsync.org (id, rebound_from) VALUES ($1, $2)
ON CONFLICT (id) DO UPDATE SET is_bound = true, bound_at = now(), rebound_from = EXCLUDED.rebound_from
