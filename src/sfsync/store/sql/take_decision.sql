-- Take a decision on a person. $1 bigint any of its ids, $2 text choice, $3 text who decided, $4 text by which way,
-- $5 bigint the request that asked for it, or null.
-- One row: its records. Raises no_data_found when there is no such person, object_not_in_prerequisite_state when it
-- was declined after the request was put.
SELECT sfsync.take_decision($1, $2, $3, $4, (SELECT q.asked_at FROM sfsync.request AS q WHERE q.id = $5))
