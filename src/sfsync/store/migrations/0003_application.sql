-- 0003: what applications may do: roles, columns of their own, addresses; and postal codes to propose.
-- transactional: yes. Old code may run beside it: yes, it calls none of this.
-- The triggers and views that follow the mapping are not here (store/protection.py, store/address_views.py).

-- Who was let in by `sfsync grant`, so that what is made later is theirs too.
CREATE TABLE sfsync.granted (
    role_name text COLLATE "C" PRIMARY KEY,
    kind text COLLATE "C" NOT NULL CHECK (kind IN ('reader', 'application')),
    granted_at timestamptz NOT NULL DEFAULT now()
);

-- Prefecture and city by postal code, of `sfsync addresses load`. `town` is null where a code has several.
CREATE TABLE sfsync.postal_code (
    code text COLLATE "C" NOT NULL,
    prefecture text COLLATE "C" NOT NULL,
    city text COLLATE "C" NOT NULL,
    town text COLLATE "C",
    PRIMARY KEY (code, prefecture, city)
);

-- As before, for callers who may not read schema sfsync.
CREATE OR REPLACE FUNCTION crm.resolve_person(person_id bigint) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT COALESCE(
        (SELECT i.subject_id FROM sfsync.identity AS i WHERE i.own_id = person_id),
        (SELECT p.id FROM crm.person AS p WHERE p.id = person_id)
    )
$$;

CREATE OR REPLACE FUNCTION crm.resolve_company(company_id bigint) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT COALESCE(
        (SELECT i.subject_id FROM sfsync.identity AS i WHERE i.own_id = company_id),
        (SELECT c.id FROM crm.company AS c WHERE c.id = company_id)
    )
$$;

-- Choose whose address a person is written to, whichever of its ids is given; null: the default again.
-- Acts in the caller's transaction. Returns the person's id.
CREATE FUNCTION crm.set_address_preference(person_id bigint, side text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    subject bigint := crm.resolve_person(person_id);
BEGIN
    IF side NOT IN ('company', 'person') THEN
        RAISE EXCEPTION 'set_address_preference: "%" is no side', side
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Choose ''company'', ''person'' or null.';
    END IF;
    PERFORM FROM crm.person AS p WHERE p.id = subject FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'set_address_preference: there is no person %', person_id
            USING ERRCODE = 'no_data_found', HINT = 'crm.person lists people by id.';
    END IF;
    UPDATE crm.person AS p SET address_preference = side
    WHERE p.id = subject AND p.address_preference IS DISTINCT FROM side;
    RETURN subject;
END
$$;

-- Let crm.active_person show the columns that crm.person has now. Appends only, so views on it stay.
CREATE FUNCTION sfsync.refresh_active_person() RETURNS boolean
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    wanted name[] := ARRAY(
        SELECT a.attname FROM pg_attribute AS a
        WHERE a.attrelid = to_regclass('crm.person') AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
    );
    shown name[] := ARRAY(
        SELECT a.attname FROM pg_attribute AS a
        WHERE a.attrelid = to_regclass('crm.active_person') AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
    );
BEGIN
    IF wanted = shown THEN
        RETURN false;
    END IF;
    EXECUTE 'CREATE OR REPLACE VIEW crm.active_person AS SELECT '
        || (SELECT string_agg(format('p.%I', w.attname), ', ' ORDER BY w.place)
            FROM unnest(wanted) WITH ORDINALITY AS w (attname, place))
        || ' FROM crm.person AS p WHERE p.merged_into IS NULL AND p.deleted_at IS NULL'
        || ' AND p.org = (SELECT o.id FROM sfsync.org AS o WHERE o.is_bound)';
    COMMENT ON VIEW crm.active_person IS 'Who is live and not merged into somebody else.';
    RETURN true;
END
$$;

-- Add a column of the application to crm.person or crm.company: nullable, of a built-in type.
-- crm.active_person shows it at once. Types of others are refused: their checks would run as sfsync's role.
CREATE FUNCTION crm.add_application_column(table_name text, column_name text, type_name text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '5s'
AS $$
DECLARE
    type_id oid := CASE WHEN type_name ~ '^[A-Za-z][A-Za-z0-9_ ]*$' THEN to_regtype(type_name) END;
BEGIN
    IF table_name IS NULL OR table_name NOT IN ('person', 'company') THEN
        RAISE EXCEPTION 'add_application_column: "%" is no table to add to', table_name
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Name ''person'' or ''company''.';
    END IF;
    IF column_name IS NULL OR column_name !~ '^[a-z][a-z0-9_]{0,62}$' THEN
        RAISE EXCEPTION 'add_application_column: "%" is no column name', column_name
            USING ERRCODE = 'invalid_name', HINT = 'Use lower-case letters, digits and _, beginning with a letter.';
    END IF;
    IF type_id IS NULL OR NOT EXISTS (
        SELECT FROM pg_type AS t
        WHERE t.oid = type_id AND t.typnamespace = 'pg_catalog'::regnamespace AND t.typtype IN ('b', 'r', 'm')
    ) THEN
        RAISE EXCEPTION 'add_application_column: "%" is no built-in type', type_name
            USING ERRCODE = 'undefined_object',
                HINT = 'Name one without a length, as text, integer, numeric, boolean, date, timestamptz or jsonb.';
    END IF;
    EXECUTE format('ALTER TABLE crm.%I ADD COLUMN %I %s', table_name, column_name, format_type(type_id, -1));
    IF table_name = 'person' THEN
        PERFORM sfsync.refresh_active_person();
    END IF;
END
$$;

-- List what a kind of role may do: each privilege, on an object of some class, as GRANT writes it.
-- An application may UPDATE whole tables: then it is told which column belongs to whom, not just "denied".
CREATE FUNCTION sfsync.privileges_of(kind text) RETURNS TABLE (privilege text, class text, object oid, target text)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    WITH ours AS (
        SELECT c.relowner AS role, c.relnamespace AS schema FROM pg_class AS c WHERE c.oid = to_regclass('crm.person')
    )
    SELECT given.privilege, 'schema', o.schema, 'SCHEMA ' || o.schema::regnamespace
    FROM ours AS o
    CROSS JOIN (VALUES ('USAGE'), ('CREATE')) AS given (privilege)
    WHERE given.privilege = 'USAGE' OR kind = 'application'
    UNION ALL
    SELECT 'SELECT', 'table', c.oid, 'TABLE ' || c.oid::regclass
    FROM ours AS o
    JOIN pg_class AS c ON c.relnamespace = o.schema AND c.relowner = o.role AND c.relkind IN ('r', 'p', 'v', 'm')
    UNION ALL
    SELECT given.privilege, 'table', c.oid, 'TABLE ' || c.oid::regclass
    FROM (VALUES ('UPDATE'), ('REFERENCES')) AS given (privilege)
    JOIN pg_class AS c ON c.oid IN (to_regclass('crm.person'), to_regclass('crm.company'))
    WHERE kind = 'application'
    UNION ALL
    SELECT 'EXECUTE', 'function', p.oid, 'FUNCTION ' || p.oid::regprocedure
    FROM ours AS o
    JOIN pg_proc AS p ON p.pronamespace = o.schema AND p.proowner = o.role AND p.prokind = 'f'
    WHERE kind = 'application' OR p.proname IN ('resolve_person', 'resolve_company')
$$;

-- Give what is lacking to everybody who was let in; roles that are gone are forgotten. Returns what was given.
CREATE FUNCTION sfsync.renew_grants() RETURNS SETOF text
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    lacking record;
BEGIN
    DELETE FROM sfsync.granted AS g WHERE NOT EXISTS (SELECT FROM pg_roles AS r WHERE r.rolname = g.role_name);
    FOR lacking IN
        SELECT g.role_name, p.privilege, p.target
        FROM sfsync.granted AS g
        CROSS JOIN sfsync.privileges_of(g.kind) AS p
        WHERE NOT CASE p.class
            WHEN 'schema' THEN has_schema_privilege(g.role_name, p.object, p.privilege)
            WHEN 'table' THEN has_table_privilege(g.role_name, p.object, p.privilege)
            ELSE has_function_privilege(g.role_name, p.object, p.privilege)
        END
    LOOP
        EXECUTE format('GRANT %s ON %s TO %I', lacking.privilege, lacking.target, lacking.role_name);
        RETURN NEXT format('%s: %s on %s', lacking.role_name, lacking.privilege, lacking.target);
    END LOOP;
END
$$;

-- Take away what a role has of all that sfsync can give, and forget it. Returns what it was, or null.
CREATE FUNCTION sfsync.shut_out(role_name text) RETURNS text
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    was text;
    given record;
BEGIN
    FOR given IN SELECT p.privilege, p.target FROM sfsync.privileges_of('application') AS p LOOP
        EXECUTE format('REVOKE %s ON %s FROM %I', given.privilege, given.target, shut_out.role_name);
    END LOOP;
    DELETE FROM sfsync.granted AS g WHERE g.role_name = shut_out.role_name RETURNING g.kind INTO was;
    RETURN was;
END
$$;

-- Functions are for those who were let in.
DO $$
DECLARE
    routine regprocedure;
BEGIN
    FOR routine IN
        SELECT p.oid FROM pg_proc AS p
        WHERE p.pronamespace = (SELECT c.relnamespace FROM pg_class AS c WHERE c.oid = to_regclass('crm.person'))
    LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', routine);
    END LOOP;
END
$$;
