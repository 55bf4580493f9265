"""A version in every record, so that the database itself can see a step back.

Why: what an old event or an old read overwrites is usually put right again by the next one, and the end shows nothing
of it. So each commit of the org writes its number into a field of each record that it changes, the fax, and Postgres
refuses to believe that a number may fall: not in any transaction, unless the record was marked as doubtful in it.
A deletion tells no fields, so it gets no number.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from unittest.mock import patch

from sfsync.simorg.history import Commit
from sfsync.simorg.transaction import Transaction

VERSIONED = frozenset({"Lead", "Contact", "Account"})
FIELD = "Fax"

WATCH = """
DO $$
BEGIN
    CREATE TABLE IF NOT EXISTS sim.regression (record_id text, was text, became text);
    TRUNCATE sim.regression;
    IF to_regclass('sfsync.record') IS NULL THEN
        RETURN;
    END IF;
    CREATE OR REPLACE FUNCTION sim.note_regression() RETURNS trigger LANGUAGE plpgsql AS $f$
    BEGIN
        IF NOT EXISTS (SELECT FROM sfsync.dirty AS d WHERE d.record_id = NEW.id AND d.org = NEW.org) THEN
            INSERT INTO sim.regression VALUES (NEW.id, OLD.fields ->> 'Fax', NEW.fields ->> 'Fax');
        END IF;
        RETURN NULL;
    END
    $f$;
    DROP TRIGGER IF EXISTS note_regression ON sfsync.record;
    CREATE CONSTRAINT TRIGGER note_regression AFTER UPDATE ON sfsync.record
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN ((NEW.fields ->> 'Fax') < (OLD.fields ->> 'Fax')) EXECUTE FUNCTION sim.note_regression();
END
$$
"""
FIND = "SELECT record_id || ' from ' || was || ' to ' || became FROM sim.regression"


@contextmanager
def versioned() -> Iterator[None]:
    """Let every commit of an org number the records that it changes."""
    commit = Transaction.commit
    numbers = count(1)

    def numbering(self: Transaction) -> Commit | None:
        number = f"v{next(numbers):09d}"
        for record_id, fields in self._staged.items():
            before = self._world.get(record_id)
            lives = fields is not None and not fields["IsDeleted"]
            if lives and fields != before and self._entities[record_id] in VERSIONED:
                fields[FIELD] = number  # type: ignore[index]  # it lives, so it is there
        return commit(self)

    with patch.object(Transaction, "commit", numbering):
        yield
