-- Keep what a daemon tells of its work, instead of what was told before. $1 text org, $2 text (json). No row; locks the org's row.
INSERT INTO sfsync.figures AS f (org, told) VALUES ($1, $2::text::jsonb)
ON CONFLICT (org) DO UPDATE SET told = EXCLUDED.told, told_at = now()
