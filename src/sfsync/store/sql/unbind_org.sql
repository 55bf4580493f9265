-- Release the store from every org but this one. $1 text org.
UPDATE sfsync.org SET is_bound = false WHERE is_bound AND id <> $1
