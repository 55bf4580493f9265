-- 0002: consent, adoption, provenance and erasure.
-- transactional: yes. Old code may run beside it: yes, it writes what these columns default to.

-- Decisions belong to records; a person's state is their combination (core/consent.py). `adopted`: this record may
-- become a person or company; always true unless `adopt = "on_request"` was in force when it was first heard of.
ALTER TABLE sfsync.record
    ADD COLUMN decision text COLLATE "C" NOT NULL DEFAULT 'synced'
        CONSTRAINT record_decision CHECK (decision IN ('synced', 'pending', 'declined')),
    ADD COLUMN adopted boolean NOT NULL DEFAULT true;

-- Why a person is pending: unread, absent, differs, merged.
ALTER TABLE crm.person ADD COLUMN sync_reason text COLLATE "C";
CREATE INDEX person_undecided ON crm.person (id) WHERE sync <> 'synced';

-- Who waits for a decision: which record would speak for whom, so that the question can be shown.
CREATE TABLE sfsync.pending (
    subject_id bigint PRIMARY KEY,
    org text COLLATE "C" NOT NULL,
    speaker text COLLATE "C" NOT NULL,
    lead text COLLATE "C",
    reason text COLLATE "C" NOT NULL CHECK (reason IN ('unread', 'absent', 'differs', 'merged')),
    since timestamptz NOT NULL DEFAULT now()
);

-- Who decided what, when and by which way: sql, cli, http.
CREATE TABLE sfsync.decision (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    org text COLLATE "C" NOT NULL,
    person_id bigint NOT NULL,
    record_ids text[] NOT NULL,
    choice text COLLATE "C" NOT NULL CHECK (choice IN ('sync', 'decline')),
    decided_by text NOT NULL,
    via text COLLATE "C" NOT NULL,
    decided_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX decision_by_person ON sfsync.decision (person_id);

-- Provenance. `columns`: those written, null when the row was made. `record_id`: the record that spoke.
-- `commit_ms`: Salesforce's instant of what was heard. `source`: the sweep, request or stream position.
ALTER TABLE sfsync.change
    ADD COLUMN record_id text COLLATE "C",
    ADD COLUMN columns text[],
    ADD COLUMN commit_ms bigint,
    ADD COLUMN source text;
CREATE INDEX change_by_subject ON sfsync.change (subject_id, seq);

-- What the mapping asks of each table, as of the last start that changed it.
CREATE TABLE sfsync.mapped_column (
    table_name text COLLATE "C" NOT NULL CHECK (table_name IN ('person', 'company')),
    column_name text COLLATE "C" NOT NULL,
    pg_type text COLLATE "C" NOT NULL,
    role text COLLATE "C" NOT NULL,
    sources jsonb NOT NULL,
    since timestamptz NOT NULL DEFAULT now(),
    suspended_since timestamptz,
    suspended_field text,
    PRIMARY KEY (table_name, column_name)
);

-- Settings that SQL must know: default_address_side, adopt, mirror.
CREATE TABLE sfsync.setting (
    name text COLLATE "C" PRIMARY KEY,
    value text NOT NULL
);

-- Records that were erased: a keyed hash of the id, so that no later reading brings them back.
CREATE TABLE sfsync.erased (
    org text COLLATE "C" NOT NULL,
    hash bytea NOT NULL,
    erased_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org, hash)
);
ALTER TABLE sfsync.org ADD COLUMN erasure_key bytea NOT NULL
    DEFAULT decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex');

-- Whether Salesforce deleted the record is seen here even where nothing of the person's row may change.
CREATE OR REPLACE VIEW crm.person_record AS
SELECT
    r.org, r.id AS salesforce_id, lower(r.entity) AS source, r.own_id, r.subject_id AS person_id,
    r.decision, r.is_deleted
FROM sfsync.record AS r
WHERE r.entity IN ('Lead', 'Contact') AND r.subject_id IS NOT NULL;

CREATE OR REPLACE VIEW crm.company_record AS
SELECT r.org, r.id AS salesforce_id, r.own_id, r.subject_id AS company_id, r.is_deleted
FROM sfsync.record AS r
WHERE r.entity = 'Account' AND r.subject_id IS NOT NULL;

CREATE VIEW crm.decision AS
SELECT d.org, d.person_id, d.choice, d.decided_by, d.via, d.decided_at FROM sfsync.decision AS d;
