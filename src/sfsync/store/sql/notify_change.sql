-- Tell listeners that the change feed has news. $1 text org.
SELECT pg_notify('sfsync_change', $1)
