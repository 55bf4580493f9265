"""What Postgres itself notes while a history runs: writes that never may be, and records that came back to life.

Why: what is overwritten wrongly is usually put right again by the next batch, and a look between two acts would miss
it. So triggers see every transaction. They live in the schema of the simulation, and are made once for a database.

Of a mapping that a history changed nothing may stay either: what is remembered of columns is put back as it was after
the first history that this database saw.
"""

from __future__ import annotations

WATCH = """
DO $$
BEGIN
    CREATE TABLE IF NOT EXISTS sim.broken (rule text, what text, at bigint);
    CREATE TABLE IF NOT EXISTS sim.revived (record_id text);
    TRUNCATE sim.broken, sim.revived;
    -- Which rows an application refuses, in a history that had such a one.
    DROP TABLE IF EXISTS sim.refused CASCADE;
    DROP FUNCTION IF EXISTS sim.refuse() CASCADE;
    IF to_regclass('sfsync.mapped_column') IS NULL THEN
        RETURN;
    END IF;
    CREATE TABLE IF NOT EXISTS sim.mapped_column AS SELECT * FROM sfsync.mapped_column;
    TRUNCATE sfsync.mapped_column, sfsync.released_column;
    INSERT INTO sfsync.mapped_column SELECT * FROM sim.mapped_column ORDER BY table_name, column_name;
    IF EXISTS (SELECT FROM pg_trigger WHERE tgname = 'note_regression') THEN
        RETURN;
    END IF;
    ALTER TABLE sfsync.org ALTER COLUMN erasure_key SET DEFAULT '\\x5afe';
    CREATE FUNCTION sim.note_regression() RETURNS trigger LANGUAGE plpgsql AS $f$
    BEGIN
        IF NOT EXISTS (SELECT FROM sfsync.dirty AS d WHERE d.record_id = NEW.id AND d.org = NEW.org) THEN
            INSERT INTO sim.broken VALUES ('a record went back to an older version without a mark',
                format('%s from %s to %s', NEW.id, OLD.fields ->> 'Fax', NEW.fields ->> 'Fax'),
                (SELECT convert_from(p.replay, 'UTF8')::bigint FROM sfsync.position AS p WHERE p.org = NEW.org));
        END IF;
        RETURN NULL;
    END
    $f$;
    CREATE CONSTRAINT TRIGGER note_regression AFTER UPDATE ON sfsync.record
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN ((NEW.fields ->> 'Fax') < (OLD.fields ->> 'Fax')) EXECUTE FUNCTION sim.note_regression();
    CREATE FUNCTION sim.note_revival() RETURNS trigger LANGUAGE plpgsql AS $f$
    BEGIN
        INSERT INTO sim.revived VALUES (NEW.id);
        RETURN NULL;
    END
    $f$;
    CREATE TRIGGER note_revival AFTER UPDATE ON sfsync.record FOR EACH ROW
    WHEN (OLD.is_deleted AND NOT NEW.is_deleted) EXECUTE FUNCTION sim.note_revival();
    CREATE FUNCTION sim.note_declined() RETURNS trigger LANGUAGE plpgsql AS $f$
    BEGIN
        INSERT INTO sim.broken VALUES ('the row of somebody declined was written', NEW.id::text);
        RETURN NULL;
    END
    $f$;
    CREATE TRIGGER note_declined AFTER UPDATE ON crm.person FOR EACH ROW
    WHEN (OLD.sync = 'declined' AND NEW.sync = 'declined' AND OLD.merged_into IS NULL)
    EXECUTE FUNCTION sim.note_declined();
    CREATE FUNCTION sim.note_pending() RETURNS trigger LANGUAGE plpgsql AS $f$
    BEGIN
        IF to_jsonb(NEW) - 'sync_reason' IS DISTINCT FROM to_jsonb(OLD) - 'sync_reason' AND NOT EXISTS (
            SELECT FROM sfsync.change AS c
            WHERE c.subject = 'person' AND c.subject_id = NEW.id AND c.origin = 'import'
                AND c.xmin = pg_current_xact_id()::xid
        ) THEN
            INSERT INTO sim.broken VALUES ('the row of somebody undecided was written', NEW.id::text);
        END IF;
        RETURN NULL;
    END
    $f$;
    CREATE CONSTRAINT TRIGGER note_pending AFTER UPDATE ON crm.person
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (OLD.sync = 'pending' AND NEW.sync = 'pending' AND OLD.merged_into IS NULL)
    EXECUTE FUNCTION sim.note_pending();
END
$$
"""
# What is delivered again repeats a stretch in its order: rows go back with it, and end where they were.
FIND = "SELECT rule || ': ' || what FROM sim.broken WHERE at IS NULL OR at > $1"
REVIVED = "DELETE FROM sim.revived RETURNING record_id"
