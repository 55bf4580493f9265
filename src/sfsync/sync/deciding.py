"""Take the decisions that people hand in: whether a person follows Salesforce from now on.

Why: to follow means to overwrite the row, which only the applier does, in its fenced transaction; so a decision is
a request like any other, and SQL, the command line and HTTP come by one path.
"""

from __future__ import annotations

from typing import Annotated, Literal

import asyncpg
import msgspec

from ..core.ids import RecordId
from ..store.database import Connection
from .requests import Answer, Request
from .work import Work

_NOTHING_TO_SYNC = {
    "absent": "Salesforce has no such record, or hides it from this user: there is nothing to sync from;"
    " decline, or give the user access and pull the record",
    "unread": "the record was not read yet, so there is nothing to sync from: try again in a moment",
}


class Choice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The argument of a request of the kind `decide`. `by`: who decided, when it was not the one who asked."""

    person_id: Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
    choice: Literal["sync", "decline"]
    via: Literal["sql", "cli", "http"] = "sql"
    by: Annotated[str, msgspec.Meta(max_length=200)] | None = None


class Deciding:
    """Serves requests of the kind `decide`."""

    def __init__(self, work: Work) -> None:
        self._work = work

    async def serve(self, request: Request) -> Answer:
        """Take the decision and, when it is to follow, overwrite the person with what Salesforce says.

        Raises `ValueError` when there is no such person, or nothing in Salesforce to follow.
        """
        try:
            chosen = msgspec.json.decode(request.argument or "", type=Choice)
        except msgspec.MsgspecError as error:
            raise ValueError(f"this is no decision: {_place(error)}") from None
        decided_by = chosen.by or request.asked_by

        async def take(connection: Connection) -> list[RecordId]:
            return await self._take(connection, chosen, decided_by, request.id)

        await self._work.writer.change("decision", take, source=f"request {request.id}")
        [row] = await self._work.database.fetch("load_person_state", chosen.person_id)
        return Answer(
            row["sync"], {"person_id": row["id"], "choice": chosen.choice, "decided_by": decided_by}
        )

    async def _take(
        self, connection: Connection, chosen: Choice, decided_by: str, request: int
    ) -> list[RecordId]:
        sql = self._work.database.sql
        if chosen.choice == "sync":
            reason = await connection.fetchval(sql("load_pending_reason"), chosen.person_id)
            if reason in _NOTHING_TO_SYNC:
                raise ValueError(_NOTHING_TO_SYNC[reason])
        try:
            members = await connection.fetchval(
                sql("take_decision"), chosen.person_id, chosen.choice, decided_by, chosen.via, request
            )
        except asyncpg.NoDataFoundError:
            raise ValueError("there is no person of this id") from None
        except asyncpg.ObjectNotInPrerequisiteStateError:
            raise ValueError("declined after this was asked: decide again, if it is meant") from None
        await connection.execute(sql("hasten_records"), self._work.org, members)
        # failpoint: decision.taken - a decision is written
        return [RecordId(member) for member in members]


def _place(error: msgspec.MsgspecError) -> str:
    """Say what is wrong without quoting a value: the text of a type error names only types and places."""
    return str(error) if isinstance(error, msgspec.ValidationError) else "it is not JSON"
