-- 0008: what became of mapped columns, and what sweeps settled.
-- transactional: yes. Old code may run beside it: yes, it leaves these columns as they are.

-- `suspended_reason`: gone (the field is not there, or hidden from the user) or retyped. `projected`: every row shows
-- what the mirror says of this column's sources.
ALTER TABLE sfsync.mapped_column
    ADD COLUMN suspended_reason text COLLATE "C"
        CONSTRAINT mapped_column_suspended_reason CHECK (suspended_reason IN ('gone', 'retyped')),
    ADD COLUMN projected boolean NOT NULL DEFAULT false;

-- Columns of crm.person and crm.company that sfsync made, or was given, and that no mapping feeds now. What is
-- neither here nor in sfsync.mapped_column belongs to the application and is never written.
CREATE TABLE sfsync.released_column (
    table_name text COLLATE "C" NOT NULL CHECK (table_name IN ('person', 'company')),
    column_name text COLLATE "C" NOT NULL,
    released_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (table_name, column_name)
);

-- Records that were dirty and that a sweep settled: neither equal, nor drift, nor ahead of the stream.
ALTER TABLE sfsync.sweep ADD COLUMN settled bigint NOT NULL DEFAULT 0;
