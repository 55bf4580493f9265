"""A version in every record, so that the database itself can see a step back.

Why: what an old event or an old read overwrites is usually put right again by the next one, and the end shows nothing
of it. So each commit of the org writes its number into a field of each record that it changes, the fax, and Postgres
notes where a number falls (`watch`): in no transaction may it, unless the record was marked as doubtful in it.
A deletion tells no fields, so it gets no number.

A number is also a canary: it is a field's value, so no line of the log may hold one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from unittest.mock import patch

from sfsync.simorg.history import Commit
from sfsync.simorg.transaction import Transaction

VERSIONED = frozenset({"Lead", "Contact", "Account"})
FIELD = "Fax"
CANARY = re.compile(r"v\d{9}")


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
