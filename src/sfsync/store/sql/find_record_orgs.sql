-- Tell of which orgs a record is known. $1 text record id. One row per org: org.
SELECT r.org FROM sfsync.record AS r WHERE r.id = $1
