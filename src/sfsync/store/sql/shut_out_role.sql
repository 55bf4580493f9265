-- Take from a role what sfsync can give, and forget it. $1 text role. One row: the kind it had, or null.
SELECT sfsync.shut_out($1)
