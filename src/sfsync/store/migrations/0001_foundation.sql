-- 0001: schemas, the mirror, identity, order, the outbox tables, and the two tables applications read.
-- transactional: yes. Old code may run beside it: there is none.
-- Mapped columns of crm.person and crm.company are not here: they follow the mapping (store/columns.py).
-- Instants named *_ms are Salesforce's, in epoch milliseconds; timestamptz columns of sfsync are Postgres's own.

CREATE SCHEMA IF NOT EXISTS crm;
CREATE SCHEMA IF NOT EXISTS sfsync;

CREATE SEQUENCE sfsync.own_id;

CREATE TABLE sfsync.org (
    id text COLLATE "C" PRIMARY KEY,
    bound_at timestamptz NOT NULL DEFAULT now(),
    rebound_from text,
    is_bound boolean NOT NULL DEFAULT true
);
CREATE UNIQUE INDEX org_only_one_bound ON sfsync.org (is_bound) WHERE is_bound;

CREATE TABLE sfsync.epoch (
    org text COLLATE "C" PRIMARY KEY,
    epoch bigint NOT NULL DEFAULT 0,
    holder text,
    taken_at timestamptz
);

CREATE TABLE sfsync.position (
    org text COLLATE "C" NOT NULL,
    channel text NOT NULL,
    replay bytea,
    commit_ms bigint,
    moved_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org, channel)
);

-- The mirror: what Salesforce last said of each record. `fields` holds mapped and structural fields by REST
-- name; a name that is absent is not known yet. `subject_id` is the person or company the record is part of.
CREATE TABLE sfsync.record (
    org text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    entity text COLLATE "C" NOT NULL,
    fields jsonb NOT NULL DEFAULT '{}',
    complete boolean NOT NULL,
    is_deleted boolean NOT NULL,
    set_by_read boolean NOT NULL,
    grouped boolean NOT NULL DEFAULT false,
    seen_from_ms bigint NOT NULL,
    seen_to_ms bigint NOT NULL,
    last_commit_ms bigint,
    modstamp_ms bigint NOT NULL DEFAULT 0,
    unseen_since_ms bigint,
    turned_ms bigint,
    parent_turned_ms bigint,
    own_id bigint,
    subject_id bigint,
    hold_until timestamptz,
    account_id text COLLATE "C",
    converted_contact_id text COLLATE "C",
    converted_date text COLLATE "C",
    master_record_id text COLLATE "C",
    PRIMARY KEY (id, org)
) WITH (fillfactor = 85);
CREATE INDEX record_by_account ON sfsync.record (account_id) WHERE account_id IS NOT NULL;
CREATE INDEX record_by_conversion ON sfsync.record (converted_contact_id) WHERE converted_contact_id IS NOT NULL;
CREATE INDEX record_by_master ON sfsync.record (master_record_id) WHERE master_record_id IS NOT NULL;
CREATE INDEX record_by_subject ON sfsync.record (subject_id) WHERE grouped;
CREATE INDEX record_held ON sfsync.record (hold_until) WHERE hold_until IS NOT NULL;

-- Ids that lead to another person or company; an own id that is not here is its own person.
CREATE TABLE sfsync.identity (
    own_id bigint PRIMARY KEY,
    org text COLLATE "C" NOT NULL,
    subject_id bigint NOT NULL
);
CREATE INDEX identity_by_subject ON sfsync.identity (subject_id);

CREATE TABLE sfsync.dirty (
    org text COLLATE "C" NOT NULL,
    record_id text COLLATE "C" NOT NULL,
    entity text COLLATE "C" NOT NULL,
    causes text[] NOT NULL,
    since_ms bigint NOT NULL,
    touched text[] NOT NULL DEFAULT '{}',
    image_touched boolean NOT NULL DEFAULT false,
    attempts integer NOT NULL DEFAULT 0,
    next_try_ms bigint NOT NULL,
    marked_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (record_id, org)
);
CREATE INDEX dirty_by_next_try ON sfsync.dirty (org, next_try_ms);

-- Entities to be read again; an entry lives until the last page of that reading was applied.
CREATE TABLE sfsync.resweep (
    org text COLLATE "C" NOT NULL,
    entity text COLLATE "C" NOT NULL,
    in_full boolean NOT NULL,
    not_before_ms bigint NOT NULL,
    reason text NOT NULL,
    asked_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org, entity, in_full)
);

CREATE TABLE sfsync.watermark (
    org text COLLATE "C" NOT NULL,
    entity text COLLATE "C" NOT NULL,
    watermark_ms bigint,
    backfill_from_ms bigint,
    backfill_after_id text COLLATE "C" NOT NULL DEFAULT '',
    backfill_records bigint NOT NULL DEFAULT 0,
    backfilled_at timestamptz,
    mapping text,
    PRIMARY KEY (org, entity)
);

-- One certificate per entity and sweep; a sweep that did not end has none.
CREATE TABLE sfsync.sweep (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    org text COLLATE "C" NOT NULL,
    sweep_id text NOT NULL,
    entity text NOT NULL,
    reason text NOT NULL,
    window_from_ms bigint NOT NULL,
    window_to_ms bigint NOT NULL,
    records_read bigint NOT NULL,
    equal bigint NOT NULL,
    drift jsonb NOT NULL,
    ahead bigint NOT NULL,
    deferred bigint NOT NULL,
    api_calls integer NOT NULL,
    duration_ms bigint NOT NULL,
    equal_as_of_ms bigint NOT NULL,
    ended_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX sweep_by_end ON sfsync.sweep (org, ended_at);

CREATE TABLE sfsync.dead_letter (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    org text COLLATE "C" NOT NULL,
    entity text,
    record_id text COLLATE "C",
    reason text NOT NULL,
    position bytea,
    parked_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX dead_letter_by_record ON sfsync.dead_letter (org, record_id);

-- The ordered change feed: what became of which person or company, and who said so.
CREATE TABLE sfsync.change (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    org text COLLATE "C" NOT NULL,
    subject text COLLATE "C" NOT NULL,
    subject_id bigint NOT NULL,
    action text COLLATE "C" NOT NULL,
    origin text COLLATE "C" NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE sfsync.request (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    org text COLLATE "C",
    kind text NOT NULL,
    argument text,
    asked_by text NOT NULL DEFAULT current_user,
    asked_at timestamptz NOT NULL DEFAULT now(),
    outcome text,
    detail jsonb,
    done_at timestamptz
);
CREATE INDEX request_open ON sfsync.request (id) WHERE done_at IS NULL;

CREATE TABLE crm.company (
    id bigint PRIMARY KEY,
    org text COLLATE "C" NOT NULL,
    salesforce_id text COLLATE "C",
    merged_into bigint,
    deleted_at timestamptz,
    synced_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 85);
CREATE INDEX company_by_salesforce_id ON crm.company (salesforce_id);

CREATE TABLE crm.person (
    id bigint PRIMARY KEY,
    org text COLLATE "C" NOT NULL,
    salesforce_id text COLLATE "C",
    source text COLLATE "C",
    company_id bigint,
    address_preference text CONSTRAINT person_address_preference CHECK (address_preference IN ('company', 'person')),
    sync text COLLATE "C" NOT NULL DEFAULT 'synced'
        CONSTRAINT person_sync CHECK (sync IN ('synced', 'pending', 'declined')),
    merged_into bigint,
    deleted_at timestamptz,
    synced_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 85);
CREATE INDEX person_by_salesforce_id ON crm.person (salesforce_id);
CREATE INDEX person_by_company ON crm.person (company_id) WHERE company_id IS NOT NULL;

COMMENT ON TABLE crm.person IS
    'One row per person, for ever: a merged-away person keeps its id, gets merged_into, and loses its values.';
COMMENT ON TABLE crm.company IS 'One row per company, for ever; see crm.person.';

-- Follow an id that was handed out once to the person it means today.
CREATE FUNCTION crm.resolve_person(person_id bigint) RETURNS bigint
LANGUAGE sql STABLE
AS $$
    SELECT COALESCE(
        (SELECT i.subject_id FROM sfsync.identity AS i WHERE i.own_id = person_id),
        (SELECT p.id FROM crm.person AS p WHERE p.id = person_id)
    )
$$;

CREATE FUNCTION crm.resolve_company(company_id bigint) RETURNS bigint
LANGUAGE sql STABLE
AS $$
    SELECT COALESCE(
        (SELECT i.subject_id FROM sfsync.identity AS i WHERE i.own_id = company_id),
        (SELECT c.id FROM crm.company AS c WHERE c.id = company_id)
    )
$$;

-- Every Salesforce record that is or was part of a person or company, so that an application finds its row by
-- any id it ever stored. `own_id` is the id the record was first handed out under.
CREATE VIEW crm.person_record AS
SELECT r.org, r.id AS salesforce_id, lower(r.entity) AS source, r.own_id, r.subject_id AS person_id
FROM sfsync.record AS r
WHERE r.entity IN ('Lead', 'Contact') AND r.subject_id IS NOT NULL;

CREATE VIEW crm.company_record AS
SELECT r.org, r.id AS salesforce_id, r.own_id, r.subject_id AS company_id
FROM sfsync.record AS r
WHERE r.entity = 'Account' AND r.subject_id IS NOT NULL;

-- Ask the daemon, wherever it runs, to read one record now. Returns the request's id.
CREATE FUNCTION crm.request_sync(salesforce_id text) RETURNS bigint
LANGUAGE plpgsql
AS $$
DECLARE
    request_id bigint;
BEGIN
    IF salesforce_id !~ '^(00Q|003|001)[0-9A-Za-z]{12}([0-9A-Za-z]{3})?$' THEN
        RAISE EXCEPTION 'request_sync: "%" is not the id of a Lead, Contact or Account', salesforce_id
            USING HINT = 'Give the 15 or 18 character id that begins with 00Q, 003 or 001.';
    END IF;
    INSERT INTO sfsync.request (kind, argument) VALUES ('pull', salesforce_id) RETURNING id INTO request_id;
    PERFORM pg_notify('sfsync_request', request_id::text);
    RETURN request_id;
END
$$;
