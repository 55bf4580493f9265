-- Begin a new epoch of this org; every transaction of an older one fails from here on.
-- $1 text org, $2 text holder. One row: epoch. Waits for apply transactions that hold the row FOR SHARE.
INSERT INTO sfsync.epoch AS e (org, epoch, holder, taken_at) VALUES ($1, 1, $2, now())
ON CONFLICT (org) DO UPDATE SET epoch = e.epoch + 1, holder = EXCLUDED.holder, taken_at = now()
RETURNING epoch
