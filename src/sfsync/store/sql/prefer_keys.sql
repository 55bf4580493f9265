-- Have the rest of this transaction find rows by key: plans that were made while a table was empty read all of it later.
SET LOCAL enable_seqscan = off
