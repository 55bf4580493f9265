-- 0011: figures of a daemon's work that are told where no daemon can be asked, and outlive it.
-- transactional: yes. Old code may run beside it: yes, it does not know the table.

-- What the leader of an org told last, about once a minute: its API calls of a day, and how late events were. It holds
-- words and numbers of ours only.
CREATE TABLE sfsync.figures (
    org text COLLATE "C" PRIMARY KEY,
    told jsonb NOT NULL,
    told_at timestamptz NOT NULL DEFAULT now()
);
