-- List the applied migrations. One row each: name, checksum.
SELECT name, checksum FROM sfsync.migration
