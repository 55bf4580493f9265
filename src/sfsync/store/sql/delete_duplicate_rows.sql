-- Leave out rows of a file by their place. {rows} is the table of rows. $1 tid[] places.
DELETE FROM {rows} WHERE ctid = ANY ($1::tid[])
