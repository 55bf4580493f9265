-- 0002: consent, adoption, provenance and erasure.
-- transactional: yes. Old code may run beside it: yes, it writes what these columns default to.

-- Decisions belong to records; a person's state is their combination (core/consent.py). `adopted`: this record may
-- become a person or company; always true unless `adopt = "on_request"` was in force when it was first heard of.
ALTER TABLE sfsync.record
    ADD COLUMN decision text COLLATE "C" NOT NULL DEFAULT 'synced'
        CONSTRAINT record_decision CHECK (decision IN ('synced', 'pending', 'declined')),
    ADD COLUMN adopted boolean NOT NULL DEFAULT true;

CREATE INDEX record_unadopted ON sfsync.record (org) WHERE NOT adopted;

-- Why a person is pending: unread, absent, differs, merged.
ALTER TABLE crm.person ADD COLUMN sync_reason text COLLATE "C";
CREATE INDEX person_undecided ON crm.person (id) WHERE sync <> 'synced';

-- Who waits for a decision: which record would speak for whom, so that the question can be shown. `row_id`: the row
-- that is shown beside it, where that is not the person's own, as for an undecided loser of a merge.
CREATE TABLE sfsync.pending (
    subject_id bigint PRIMARY KEY,
    org text COLLATE "C" NOT NULL,
    speaker text COLLATE "C" NOT NULL,
    lead text COLLATE "C",
    reason text COLLATE "C" NOT NULL CHECK (reason IN ('unread', 'absent', 'differs', 'merged')),
    row_id bigint,
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

-- The change feed, for applications; `columns` is null where the row was made.
CREATE VIEW crm.change AS
SELECT c.seq, c.org, c.subject, c.subject_id, c.action, c.origin, c.columns, c.at FROM sfsync.change AS c;

CREATE VIEW crm.decision AS
SELECT d.org, d.person_id, d.choice, d.decided_by, d.via, d.decided_at FROM sfsync.decision AS d;

-- A text as it counts for comparing: surrounding white space (full-width included) and the kind of line ends are no
-- difference, and blank is null.
CREATE FUNCTION sfsync.plain_text(value text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT NULLIF(regexp_replace(
        regexp_replace(value, E'\r\n?', E'\n', 'g'),
        E'^[\\s\x1c-\x1f\u0085\u00a0\u1680\u2000-\u200b\u2028\u2029\u202f\u205f\u2060\u3000\ufeff]+'
            || E'|[\\s\x1c-\x1f\u0085\u00a0\u1680\u2000-\u200b\u2028\u2029\u202f\u205f\u2060\u3000\ufeff]+$',
        '', 'g'
    ), '')
$$;

-- Take a decision on a person, whichever of its ids is given: on each of its records, and on its rows.
-- Returns the records, whose projection must be looked at anew when the choice is 'sync'.
-- Records are locked before people, as the applier does, so that neither waits for the other in a circle.
-- *asked_at*: when it was asked for; somebody declined after that stays so.
CREATE FUNCTION sfsync.take_decision(
    asked_id bigint, choice text, decided_by text, via text, asked_at timestamptz DEFAULT NULL
) RETURNS text[]
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    subject bigint := crm.resolve_person(asked_id);
    person_org text;
    speaker text;
    members text[];
BEGIN
    IF choice IS NULL OR choice NOT IN ('sync', 'decline') THEN
        RAISE EXCEPTION 'decide: "%" is no choice', choice
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Choose ''sync'' or ''decline''.';
    END IF;
    LOOP
        SELECT p.org, p.salesforce_id INTO person_org, speaker FROM crm.person AS p WHERE p.id = subject;
        IF speaker IS NULL THEN
            -- Merged away, declined with its group and parted from it again: the row stayed empty. No index leads there.
            SELECT r.id INTO speaker FROM sfsync.record AS r WHERE r.own_id = subject AND r.org = person_org;
        END IF;
        members := ARRAY(
            SELECT r.id FROM sfsync.record AS r
            WHERE r.org = person_org AND (r.id = speaker OR r.subject_id = subject AND r.grouped)
            ORDER BY r.id
            FOR UPDATE
        );
        -- Whoever we waited for may have merged or parted them.
        EXIT WHEN subject IS NOT DISTINCT FROM crm.resolve_person(asked_id) AND members = ARRAY(
            SELECT r.id FROM sfsync.record AS r
            WHERE r.org = person_org AND (r.id = speaker OR r.subject_id = subject AND r.grouped)
            ORDER BY r.id
        );
        subject := crm.resolve_person(asked_id);
    END LOOP;
    -- Only now: somebody may have been erased while we waited.
    PERFORM FROM crm.person AS p WHERE p.id = subject FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'decide: there is no person %', asked_id
            USING ERRCODE = 'no_data_found', HINT = 'crm.person lists people by id.';
    END IF;
    IF choice = 'sync' AND EXISTS (
        SELECT FROM sfsync.decision AS d
        WHERE d.record_ids && members AND d.choice = 'decline' AND d.decided_at >= asked_at
    ) THEN
        RAISE EXCEPTION 'decide: person % was declined after this was asked', subject
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Decide again, if it is meant.';
    END IF;
    UPDATE sfsync.record AS r
    SET decision = CASE choice WHEN 'sync' THEN 'synced' ELSE 'declined' END
    WHERE r.id = ANY (members) AND r.org = person_org;
    UPDATE crm.person AS p
    SET sync = CASE choice WHEN 'sync' THEN 'synced' ELSE 'declined' END, sync_reason = NULL
    WHERE p.id IN (SELECT r.own_id FROM sfsync.record AS r WHERE r.id = ANY (members) AND r.org = person_org
            UNION ALL SELECT subject)
        AND p.sync <> CASE choice WHEN 'sync' THEN 'synced' ELSE 'declined' END;
    DELETE FROM sfsync.pending AS q WHERE q.subject_id = subject;
    -- When it was said counts, not when its transaction began or a daemon got to it.
    INSERT INTO sfsync.decision (org, person_id, record_ids, choice, decided_by, via, decided_at)
    VALUES (person_org, subject, members, choice, decided_by, via, COALESCE(asked_at, clock_timestamp()));
    INSERT INTO sfsync.change (org, subject, subject_id, action, origin, record_id, columns, source)
    VALUES (person_org, 'person', subject, 'changed', 'decision', speaker, '{sync,sync_reason}', choice || ' via ' || via);
    PERFORM pg_notify('sfsync_change', person_org);
    RETURN members;
END
$$;

-- Decide whether a person follows Salesforce. 'decline' holds from the end of this transaction on; 'sync' is asked
-- of the daemon, which overwrites the person: the request's id is returned.
CREATE FUNCTION crm.decide(person_id bigint, choice text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    request_id bigint;
    asker text := session_user;
    -- Not a SET clause of this function: only superusers may create one with a setting of this kind.
    writer text := COALESCE(current_setting('sfsync.writer', true), '');
BEGIN
    IF choice = 'sync' AND EXISTS (SELECT FROM crm.person AS p WHERE p.id = crm.resolve_person(person_id)) THEN
        INSERT INTO sfsync.request (kind, argument, asked_by, asked_at)
        VALUES (
            'decide', jsonb_build_object('person_id', person_id, 'choice', choice, 'via', 'sql')::text, asker,
            clock_timestamp()
        )
        RETURNING id INTO request_id;
        PERFORM pg_notify('sfsync_request', request_id::text);
    ELSE
        PERFORM set_config('sfsync.writer', 'on', true);
        PERFORM sfsync.take_decision(person_id, choice, asker, 'sql');
        PERFORM set_config('sfsync.writer', writer, true);
    END IF;
    RETURN request_id;
END
$$;
