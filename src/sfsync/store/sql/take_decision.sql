-- Take a decision on a person. $1 bigint any of its ids, $2 text choice, $3 text who decided, $4 text by which way.
-- One row: its records. Raises no_data_found when there is no such person.
SELECT sfsync.take_decision($1, $2, $3, $4)
