-- Tell who leads this org. $1 text org. At most one row: epoch, holder, taken_at.
SELECT epoch, holder, taken_at FROM sfsync.epoch WHERE org = $1
