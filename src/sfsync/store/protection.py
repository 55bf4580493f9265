"""Refuse writes to what Salesforce owns, and to what sfsync keeps, from everybody but sfsync.

Why: a value that an application changes here would be overwritten by the next sweep, or worse, believed until then;
so the write fails at once and says where to make it. Privileges cannot do this: they know neither rows nor who is
`synced`, and they stop no superuser. A trigger does, and its WHEN clause lets sfsync's own writes pass without a
call. It runs as whoever writes, so the session setting that marks sfsync's sessions helps nobody else: the owner of
the tables, or a superuser, must be the one who sets it. The function is composed from the mapping, because looking
the columns up would cost a read for each row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from ..core.mapping_file import Table
from .database import Connection
from .generated import Generated, ensure_generated
from .sql import Schemas, quote

_PERSON = "id org salesforce_id source company_id sync sync_reason merged_into deleted_at synced_at".split()
_COMPANY = "id org salesforce_id merged_into deleted_at synced_at".split()
_OWN: Mapping[Table, Sequence[str]] = {"person": _PERSON, "company": _COMPANY}
# Companies always follow Salesforce; people only while they are synced.
_FOLLOWS = {"person": "OLD.sync = 'synced'", "company": "true"}

_MAY_WRITE = """current_setting('sfsync.writer', true) = 'on'
        AND pg_has_role(current_user, (SELECT relowner FROM pg_class WHERE oid = TG_RELID), 'USAGE')"""

_UPDATE = """
CREATE OR REPLACE FUNCTION sfsync.protect_{table}() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $protect$
DECLARE
    kept text[];
    mapped text[];
BEGIN
    IF {own_same} AND ({mapped_same} OR NOT ({follows})) THEN
        RETURN NULL;
    END IF;
    IF {may_write} THEN
        RETURN NULL;
    END IF;
    kept := array_remove(ARRAY[{own_names}]::text[], NULL);
    IF cardinality(kept) > 0 THEN
        RAISE EXCEPTION '{table} %: sfsync itself keeps %', OLD.id, array_to_string(kept, ', ')
            USING ERRCODE = 'insufficient_privilege', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME, COLUMN = kept[1],
                HINT = 'Decide about a person with decide(); everything else of these follows Salesforce.';
    END IF;
    mapped := array_remove(ARRAY[{mapped_names}]::text[], NULL);
    RAISE EXCEPTION '{table} %: Salesforce owns %', OLD.id, array_to_string(mapped, ', ')
        USING ERRCODE = 'insufficient_privilege', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME, COLUMN = mapped[1],
            HINT = format('Edit %s in Salesforce; sfsync brings the change here.',
                COALESCE('record ' || OLD.salesforce_id, 'the record'));
END
$protect$
"""

_REST = """
CREATE OR REPLACE FUNCTION sfsync.protect_rows() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $protect$
BEGIN
    IF {may_write} THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION '%: only sfsync may % rows', TG_TABLE_NAME, lower(TG_OP)
        USING ERRCODE = 'insufficient_privilege', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME,
            HINT = CASE TG_OP
                WHEN 'INSERT' THEN 'Create the record in Salesforce, or import it with sfsync import.'
                WHEN 'DELETE' THEN 'Delete the record in Salesforce; sfsync purge removes every trace of it.'
                ELSE 'sfsync purge removes single people and companies.'
            END;
END
$protect$
"""

# The name is compared because that costs least; whoever else may write is let pass by the function. Rows are looked at
# after the update: for a trigger before it Postgres locks each row first, which is a write of its own.
_TRIGGER = """
CREATE OR REPLACE TRIGGER {name} {moment} {event} ON crm.{table} FOR EACH {level}
WHEN ((current_setting('sfsync.writer', true) = 'on' AND current_user = {owner}) IS NOT TRUE)
EXECUTE FUNCTION sfsync.{function}()
"""


async def ensure_protection(
    connection: Connection, schemas: Schemas, mapped: Mapping[Table, Iterable[str]]
) -> None:
    """Make the triggers, and enable them; *mapped* names the columns that Salesforce owns, by table."""
    owner = await connection.fetchval(
        "SELECT quote_literal(pg_get_userbyid(relowner)) FROM pg_class WHERE oid = to_regclass($1)",
        schemas.rename("crm.person"),
    )
    for wanted in (*_functions(mapped), *_triggers(owner)):
        await ensure_generated(connection, schemas, wanted)


def _functions(mapped: Mapping[Table, Iterable[str]]) -> Iterator[Generated]:
    for table, own in _OWN.items():
        columns = sorted(mapped[table])
        yield Generated(
            "FUNCTION",
            f"sfsync.protect_{table}()",
            "Refuses updates of what Salesforce or sfsync owns.",
            _UPDATE.format(
                table=table,
                own_same=_same(own),
                mapped_same=_same(columns),
                follows=_FOLLOWS[table],
                own_names=_changed(own),
                mapped_names=_changed(columns),
                may_write=_MAY_WRITE,
            ),
        )
    yield Generated(
        "FUNCTION",
        "sfsync.protect_rows()",
        "Refuses to insert, delete or truncate.",
        _REST.format(may_write=_MAY_WRITE),
    )


def _triggers(owner: str) -> Iterator[Generated]:
    for table in _OWN:
        for event in ("UPDATE", "INSERT", "DELETE", "TRUNCATE"):
            moment, level, function = "BEFORE", "STATEMENT", "protect_rows"
            if event == "UPDATE":
                moment, level, function = "AFTER", "ROW", f"protect_{table}"
            name = f"sfsync_{event.lower()}"
            statement = _TRIGGER.format(
                name=name,
                moment=moment,
                event=event,
                table=table,
                level=level,
                owner=owner,
                function=function,
            )
            meaning = "Lets nobody but sfsync write what follows Salesforce."
            yield Generated("TRIGGER", f"{name} ON crm.{table}", meaning, statement)


def _same(columns: Sequence[str]) -> str:
    """Write that a row keeps its values in *columns*; the empty list is the same in every row."""
    if not columns:
        return "true"
    old, new = (", ".join(f"{row}.{quote(name)}" for name in columns) for row in ("OLD", "NEW"))
    return f"ROW({old}) IS NOT DISTINCT FROM ROW({new})"


def _changed(columns: Sequence[str]) -> str:
    """Write an array's elements: the names of the *columns* that an update changes, and nulls."""
    names = ((quote(name), name.replace("'", "''")) for name in columns)
    return ", ".join(
        f"CASE WHEN OLD.{name} IS DISTINCT FROM NEW.{name} THEN '{text}' END" for name, text in names
    )
