-- Tell listeners that people or companies changed; the payload is the org. $1 text org.
SELECT pg_notify('sfsync_change', $1)
