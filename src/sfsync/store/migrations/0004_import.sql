-- 0004: files of people that wait to be imported.
-- transactional: yes. Old code may run beside it: yes, it does not know these tables.

-- One file; the request of kind `import` names it by its id. The columns are those that the file feeds; `taken` counts
-- what became of its rows so far.
CREATE TABLE sfsync.import_file (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    org text COLLATE "C" NOT NULL,
    person_columns text[] NOT NULL,
    company_columns text[] NOT NULL,
    address_preference text,
    taken jsonb NOT NULL DEFAULT '{}',
    staged_at timestamptz NOT NULL DEFAULT now()
);

-- Its rows, until they are taken. One that cannot be is kept with its reason and without its values, for whoever
-- asked. `company_id` is a record id, or - to clear it. In the cells null clears; what is not there stays.
CREATE TABLE sfsync.import_row (
    import_id bigint NOT NULL,
    line bigint NOT NULL,
    record_id text COLLATE "C" NOT NULL,
    company_id text COLLATE "C",
    cells jsonb NOT NULL,
    company_cells jsonb NOT NULL,
    reason text,
    PRIMARY KEY (import_id, line)
);
CREATE INDEX import_row_by_record ON sfsync.import_row (record_id, import_id, line);
