-- Reserve ids for records that are live for the first time. $1 integer how many. One row per id, ascending.
SELECT nextval('sfsync.own_id') FROM generate_series(1, $1)
