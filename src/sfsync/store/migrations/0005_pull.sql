-- 0005: reading a record on demand: time limits of requests, and how an application asks and hears the answer.
-- transactional: yes. Old code may run beside it: yes, it leaves the new column empty.

-- Until when whoever asked wants the answer; null: whenever it can be had.
ALTER TABLE sfsync.request ADD COLUMN expires_at timestamptz;

-- Ask the daemon, wherever it runs, to read one record now, ahead of all other work. Returns the request's id; the
-- daemon sees it when this transaction is committed. What became of it: crm.sync_verdict, crm.await_sync.
CREATE OR REPLACE FUNCTION crm.request_sync(salesforce_id text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    request_id bigint;
BEGIN
    IF salesforce_id IS NULL
        OR salesforce_id !~ '^(00Q|003|001)[0-9A-Za-z]{12}([0-9A-Za-z]{3})?$' AND salesforce_id !~ '^[1-9][0-9]{0,17}$'
    THEN
        RAISE EXCEPTION 'request_sync: "%" is not the id of a Lead, Contact or Account', left(COALESCE(salesforce_id, ''), 40)
            USING ERRCODE = 'invalid_parameter_value',
                HINT = 'Give the 15 or 18 character id that begins with 00Q, 003 or 001, its letters'' case kept, or the id of a person in digits.';
    END IF;
    INSERT INTO sfsync.request (kind, argument, asked_by) VALUES ('pull', salesforce_id, session_user)
    RETURNING id INTO request_id;
    PERFORM pg_notify('sfsync_request', request_id::text);
    RETURN request_id;
END
$$;

-- Tell what became of a request that crm.request_sync or crm.decide returned: one row, its outcome null while it is
-- open; no row when there is no such request (answered ones are forgotten with the change feed's retention).
-- Volatile, which it need not be, because that is what `sfsync grant` keeps from readers: it shows Salesforce's values.
CREATE FUNCTION crm.sync_verdict(request_id bigint)
RETURNS TABLE (outcome text, detail jsonb, done_at timestamptz)
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT r.outcome, r.detail, r.done_at FROM sfsync.request AS r
    WHERE r.id = request_id AND r.kind IN ('pull', 'decide')
$$;

-- Say who leads the org that the store is bound to, in words; a session holds the lock of an org while it leads it.
CREATE FUNCTION sfsync.describe_leader() RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT COALESCE(max(
        CASE WHEN EXISTS (
            SELECT FROM pg_locks AS l
            WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted
                AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
                AND l.classid = ((key.number >> 32) & 4294967295)::oid AND l.objid = (key.number & 4294967295)::oid
        ) THEN format('the daemon at %s has not served it', e.holder)
        ELSE format('no daemon leads org %s', o.id) END
    ), 'the store is bound to no org yet')
    FROM sfsync.org AS o
    LEFT JOIN sfsync.epoch AS e ON e.org = o.id
    CROSS JOIN LATERAL (
        SELECT ('x' || left(encode(sha256(convert_to('sfsync:' || o.id, 'UTF8')), 'hex'), 16))::bit(64)::bigint AS number
    ) AS key
    WHERE o.is_bound
$$;

-- Wait until a request is answered, and tell the verdict as crm.sync_verdict does. When the time is over, outcome is
-- null and detail.error says who should have served it. Two steps: commit the asking first, then wait.
CREATE FUNCTION crm.await_sync(request_id bigint, timeout_s double precision DEFAULT 10)
RETURNS TABLE (outcome text, detail jsonb, done_at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    deadline timestamptz := clock_timestamp() + make_interval(secs => timeout_s);
    writer xid;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'await_sync: this transaction cannot see an answer that comes while it waits'
            USING ERRCODE = 'invalid_transaction_state', HINT = 'Call it under READ COMMITTED, or ask crm.sync_verdict again.';
    END IF;
    SELECT r.xmin INTO writer FROM sfsync.request AS r WHERE r.id = request_id AND r.kind IN ('pull', 'decide');
    IF NOT FOUND THEN
        RAISE EXCEPTION 'await_sync: there is no request %', request_id
            USING ERRCODE = 'no_data_found', HINT = 'crm.request_sync returns the id of a request.';
    END IF;
    IF writer::text = (pg_current_xact_id_if_assigned()::text::numeric % 4294967296)::text THEN
        RAISE EXCEPTION 'await_sync: request % is not committed yet, so no daemon can see it', request_id
            USING ERRCODE = 'invalid_transaction_state', HINT = 'Commit after crm.request_sync, then wait.';
    END IF;
    LOOP
        RETURN QUERY SELECT v.outcome, v.detail, v.done_at FROM crm.sync_verdict(request_id) AS v
            WHERE v.done_at IS NOT NULL;
        EXIT WHEN FOUND;
        IF clock_timestamp() >= deadline THEN
            RETURN QUERY SELECT NULL::text, jsonb_build_object('error',
                format('not served within %s s; %s', timeout_s, sfsync.describe_leader())), NULL::timestamptz;
            EXIT;
        END IF;
        PERFORM pg_sleep(0.01);
    END LOOP;
END
$$;

REVOKE EXECUTE ON FUNCTION crm.request_sync(text), crm.sync_verdict(bigint), crm.await_sync(bigint, double precision),
    sfsync.describe_leader() FROM PUBLIC;
