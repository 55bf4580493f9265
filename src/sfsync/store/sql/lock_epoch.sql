-- Hold this org's epoch against a successor until the transaction ends.
-- $1 text org. One row: epoch. Locks the epoch row FOR SHARE.
SELECT epoch FROM sfsync.epoch WHERE org = $1 FOR SHARE
