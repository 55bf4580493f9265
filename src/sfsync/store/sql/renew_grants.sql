-- Give what is lacking to everybody who was let in. One row per privilege: given, in words.
SELECT given FROM sfsync.renew_grants() AS given
