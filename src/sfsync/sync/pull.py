"""Read records now, because somebody is about to act on them.

Why: what is certain is written at once, and the verdict says how certain that is, so that the caller can decide. A
pull has a lane of its own: nothing else waits in front of it, and pulls that come together are read together, one call
per entity. While Salesforce is away a pull stays open until its caller no longer waits, since the usual outage is over
in seconds; what is wrong with the request itself is refused at once.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Collection, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from ..core.ids import Entity, RecordId, entity_of, record_id
from ..errors import AuthError, LimitError, QueryError, SalesforceError, StoreError, UnavailableError
from ..log import describe_error
from ..salesforce.budget import Lane, in_lane
from ..salesforce.rest import READ_IDS_MAX, Rest
from ..store.batch import Batch
from ..store.database import Connection
from ..store.erased import find_erased
from ..store.poison import refuse_unless_poison
from ..store.standing import Standing, load_questions, load_standings, record_of_person
from .answering import Answer, Request
from .reading import Found, read_records
from .verdict import judge
from .work import Work

_log = structlog.get_logger()
_TOGETHER_MAX = 200
# With their entities these stay below the sockets of one connection, so that nobody waits for one.
_ROUNDS_MAX = 3
_HOPS_MAX = 3
_READ_S_MIN, _READ_S_MAX = 0.5, 20.0
_AGAIN_S, _PAUSE_S_MAX = 0.1, 5.0
_TRANSIENT = (UnavailableError, LimitError, AuthError)
_ABOUT_AN_ID = frozenset({"MALFORMED_ID", "INVALID_QUERY_FILTER_OPERATOR"})
_WITH_COMPANY = " with company"
_PERSON_ID = re.compile(r"[1-9][0-9]{0,17}")


@dataclass(frozen=True, slots=True)
class _Postponed:
    """Salesforce is away: what it said, and the monotonic instant of the next attempt."""

    error: SalesforceError
    until: float


@dataclass(slots=True, eq=False)
class _Asked:
    """One request on its way: the record it means, and the future that tells what became of it."""

    request: Request
    record: RecordId
    with_company: bool
    told: asyncio.Future[Answer | _Postponed]
    is_taken: bool = False


@dataclass(slots=True)
class _Round:
    """What one round has read so far; `refused` records could not be asked for, or cannot be stored."""

    read: set[RecordId] = field(default_factory=set)
    found: list[Found] = field(default_factory=list)
    refused: dict[RecordId, QueryError | StoreError] = field(default_factory=dict)

    @property
    def as_of_ms(self) -> int:
        return min((one.read_from_ms for one in self.found), default=0)


class Pull:
    """Serves requests of the kind `pull`.

    The argument is a record id of 15 or 18 characters, or a person's id in digits; with ` with company` behind it
    the contact's account is read as well.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._waiting: list[_Asked] = []
        self._rounds = asyncio.Semaphore(_ROUNDS_MAX)
        self._back = asyncio.Event()
        self._postponed: _Postponed | None = None

    async def serve(self, request: Request) -> Answer:
        """Read the record, and its company. Raises `ValueError` when it is none that we keep."""
        argument = request.argument or ""
        text = argument.removesuffix(_WITH_COMPANY)
        record = await self._record(text)
        while True:
            told: asyncio.Future[Answer | _Postponed] = asyncio.get_running_loop().create_future()
            asked = _Asked(request, record, text != argument, told)
            answer = await self._answer(asked)
            if isinstance(answer, Answer):
                _refuse_mangled(text, answer)
                return answer
            await self._pause(min(answer.until - time.monotonic(), request.left_s))
            if request.left_s <= 0:
                return _unsettled(record, answer)

    async def _record(self, text: str) -> RecordId:
        if _PERSON_ID.fullmatch(text):
            return await record_of_person(self._work.database, self._work.org, int(text))
        record = record_id(text)
        if entity_of(record) is None:
            was_mangled = entity_of(record.upper()) is not None
            raise ValueError(
                "the id's letters were changed to lower case: give it as Salesforce shows it"
                if was_mangled
                else "only a Lead (00Q), Contact (003) or Account (001) can be pulled"
            )
        return record

    async def _pause(self, wait_s: float) -> None:
        """Wait for the next attempt, or until somebody else's succeeded."""
        try:
            async with asyncio.timeout(max(wait_s, 0.0)):
                await self._back.wait()
                await asyncio.sleep(_AGAIN_S)
        except TimeoutError:
            pass

    # Rounds ------------------------------------------------------------------------------------------

    async def _answer(self, asked: _Asked) -> Answer | _Postponed:
        """Join a round, or hold one for all who wait, unless the org said to come back later."""
        if self._postponed is not None and self._postponed.until > time.monotonic():
            return self._postponed
        self._waiting.append(asked)
        # Those who were announced together come together.
        await asyncio.sleep(0)
        async with self._rounds:
            while not asked.is_taken:
                taken, self._waiting = self._waiting[:_TOGETHER_MAX], self._waiting[_TOGETHER_MAX:]
                await self._hold(taken)
        return await asked.told

    async def _hold(self, taken: Sequence[_Asked]) -> None:
        """Hold a round, and tell everybody in it what became of it."""
        for asked in taken:
            asked.is_taken = True
        try:
            answers = await self._round_or_pause(taken)
        except Exception as error:
            for asked in taken:
                asked.told.set_exception(error)
                # Who holds the round raises it anyway.
                asked.told.exception()
            raise
        for asked, answer in zip(taken, answers, strict=True):
            if not asked.told.done():
                asked.told.set_result(answer)

    async def _round_or_pause(self, taken: Sequence[_Asked]) -> Sequence[Answer | _Postponed]:
        outage = self._work.outage("pull")
        try:
            with in_lane(Lane.PULL):
                answers = await self._round(taken)
        except _TRANSIENT as error:
            self._back.clear()
            postponed = _Postponed(error, time.monotonic() + outage.failed(error))
            if isinstance(error, UnavailableError) and not error.retry_after_s:
                # Somebody waits: they shall not wait long for an org that is back.
                postponed = _Postponed(error, min(postponed.until, time.monotonic() + _PAUSE_S_MAX))
            else:
                # The org said when to come back: whoever asks meanwhile must not spend another call.
                self._postponed = postponed
            return [postponed] * len(taken)
        outage.ended()
        self._back.set()
        return answers

    async def _round(self, taken: Sequence[_Asked]) -> list[Answer]:
        """Read what these asked for and what it is linked to, commit it, and judge. Raises `SalesforceError`."""
        began = time.monotonic()
        database, org = self._work.database, self._work.org
        erased = await find_erased(database, org, [asked.record for asked in taken])
        wanted = [asked for asked in taken if asked.record not in erased]
        ids = list(dict.fromkeys(asked.record for asked in wanted))
        before = await load_standings(database, org, ids)
        source = _source(wanted)
        work = _Round()
        after = await self._once_adopted(work, before, source)
        for _ in range(_HOPS_MAX):
            missing = _to_read(wanted, after) - work.read
            if not missing:
                break
            await self._read(work, missing, source, min(asked.request.left_s for asked in wanted))
            # An event may have told of a record while it was read, and adopts nobody.
            after = await self._once_adopted(work, await load_standings(database, org, ids), source)
        answers = [await self._judged(asked, erased, before, after, work) for asked in taken]
        _log.info(
            "pull.completed",
            requests=len(taken),
            records=len(work.read),
            outcomes=dict(Counter(answer.outcome for answer in answers)),
            duration_ms=round((time.monotonic() - began) * 1000, 1),
        )
        return answers

    async def _judged(
        self,
        asked: _Asked,
        erased: Collection[str],
        before: Mapping[RecordId, Standing],
        after: Mapping[RecordId, Standing],
        work: _Round,
    ) -> Answer:
        record = asked.record
        if record in erased:
            # The id is personal data too, and must not come back by an answer.
            return Answer("erased", {})
        if record in work.refused:
            return Answer("refused", {"salesforce_id": record, "error": describe_error(work.refused[record])})
        stands = after[record]
        question = None
        if stands.sync == "pending" and stands.person_id is not None:
            question = (await load_questions(self._work.database, [stands.person_id])).get(stands.person_id)
        return judge(record, before[record], stands, question, as_of_ms=work.as_of_ms)

    async def _once_adopted(
        self, work: _Round, standings: Mapping[RecordId, Standing], source: str
    ) -> Mapping[RecordId, Standing]:
        """Adopt those of these records that are known, and return how all of them stand then."""
        late = [
            one
            for one, stands in standings.items()
            if stands.is_known and not stands.adopted and one not in work.refused
        ]
        if not late:
            return standings
        await self._adopt(work, late, source)
        return await load_standings(self._work.database, self._work.org, [*standings])

    async def _adopt(self, work: _Round, ids: Sequence[RecordId], source: str) -> None:
        """Let known records become people and companies from now on; one that Postgres refuses hinders no other."""

        async def adopt(connection: Connection) -> Sequence[RecordId]:
            await connection.execute(self._work.database.sql("adopt_records"), self._work.org, ids)
            return ids

        try:
            await self._work.writer.change("pull", adopt, source=source)
        except StoreError as error:
            refuse_unless_poison(error)
            if len(ids) == 1:
                work.refused[ids[0]] = error
                return
            middle = len(ids) // 2
            await self._adopt(work, ids[:middle], source)
            await self._adopt(work, ids[middle:], source)

    async def _read(self, work: _Round, ids: Collection[RecordId], source: str, left_s: float) -> None:
        """Read records of all entities at once and commit what was found, ahead of all other work."""
        work.read |= set(ids)
        try:
            async with asyncio.timeout(min(max(left_s, _READ_S_MIN), _READ_S_MAX)):
                # The reads' lower bound must be as fresh as it can be, or they prove nothing.
                await self._work.connection.clock_ms()
                found = await _all_together(self._read_entity(work, *one) for one in _by_entity(ids))
        except TimeoutError:
            raise UnavailableError("Salesforce did not answer in time", code="TIMEOUT") from None
        work.found += found
        # failpoint: pull.read - pulled records were read
        if not found:
            return
        await self._work.writer.submit(
            Batch(
                [command for one in found for command in one.commands],
                "pull",
                max(one.read_to_ms for one in found),
                dead_letters=[letter for one in found for letter in one.dead_letters],
                source=source,
                adopts=True,
            ),
            urgent=True,
        )
        # failpoint: pull.applied - pulled records are committed

    async def _read_entity(self, work: _Round, entity: Entity, ids: Sequence[RecordId]) -> list[Found]:
        """Read records of one entity; those that Salesforce will not be asked for are noted as refused."""
        try:
            # Repeating is ours: it ends when nobody waits any more.
            rest = Rest(self._work.connection, tries=1)
            return [await read_records(rest, self._work.mapping.plans[entity], ids)]
        except QueryError as error:
            await self._work.look_again_after(error)
            if error.code not in _ABOUT_AN_ID or len(ids) == 1:
                work.refused |= dict.fromkeys(ids, error)
                return []
        middle = len(ids) // 2
        return [
            *await self._read_entity(work, entity, ids[:middle]),
            *await self._read_entity(work, entity, ids[middle:]),
        ]


async def _all_together(reads: Iterable[Coroutine[Any, Any, list[Found]]]) -> list[Found]:
    """Return what these reads find; the first that fails ends the others, and is raised.

    No task group: before Python 3.13 one that fails as it is cancelled forgets the cancellation, and whoever waits for
    us to end would wait for ever.
    """
    tasks = [asyncio.create_task(read) for read in reads]
    try:
        if tasks:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        return [found for task in tasks if task.done() for found in task.result()]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _to_read(wanted: Sequence[_Asked], standings: Mapping[RecordId, Standing]) -> set[RecordId]:
    """Return what must be read to judge these: each record, who speaks for it, and what they point to."""
    records: set[RecordId] = set()
    for asked in wanted:
        stands = standings[asked.record]
        records |= {asked.record, *stands.unknown_links}
        if stands.speaker is not None:
            records.add(stands.speaker)
        if asked.with_company and stands.account_id is not None:
            records.add(stands.account_id)
    return records


def _by_entity(ids: Collection[RecordId]) -> list[tuple[Entity, Sequence[RecordId]]]:
    """Sort records by entity, in parts of what one call may ask for; those of other entities are left out."""
    parts: list[tuple[Entity, Sequence[RecordId]]] = []
    for entity in Entity:
        of_entity = sorted(one for one in ids if entity_of(one) is entity)
        parts += [
            (entity, of_entity[start : start + READ_IDS_MAX])
            for start in range(0, len(of_entity), READ_IDS_MAX)
        ]
    return parts


def _source(wanted: Sequence[_Asked]) -> str:
    """Name the request that a change is laid to; of many that came together, the first."""
    if not wanted:
        return ""
    others = f" and {len(wanted) - 1} more" if len(wanted) > 1 else ""
    return f"request {wanted[0].request.id}{others}"


def _refuse_mangled(text: str, answer: Answer) -> None:
    """Tell an id that lost its case from one of a record that is gone: 15 characters have no checksum."""
    if answer.outcome == "absent" and len(text) == 15 and not text.isdigit() and text[3:].lower() == text[3:]:
        raise ValueError(
            "Salesforce has no such record, and the id has no capital letter: its case was probably lost;"
            " give the id of 18 characters"
        )


def _unsettled(record: RecordId, postponed: _Postponed) -> Answer:
    """Answer when Salesforce was away for as long as somebody waited."""
    wait = timedelta(seconds=max(postponed.until - time.monotonic(), 0.0))
    return Answer(
        "unsettled",
        {
            "salesforce_id": record,
            "error": describe_error(postponed.error),
            "retry_at": (datetime.now(UTC) + wait).isoformat(timespec="milliseconds"),
        },
    )
