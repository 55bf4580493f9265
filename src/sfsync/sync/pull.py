"""Read one record now, because somebody is about to act on it.

Why: what is certain is written at once, and the verdict says how certain that is, so that the caller can decide.
"""

from __future__ import annotations

from ..core.ids import entity_of, record_id
from ..core.order import Verdict
from ..store.apply import Outcome
from .refetch import Refetcher
from .requests import Answer, Request


class Pull:
    """Serves requests of the kind `pull`; the argument is a record id of 15 or 18 characters."""

    def __init__(self, refetcher: Refetcher) -> None:
        self._refetcher = refetcher

    async def serve(self, request: Request) -> Answer:
        """Read the record now. Raises `ValueError` when it is none that we keep."""
        record = record_id(request.argument or "")
        entity = entity_of(record)
        if entity is None:
            raise ValueError("only a Lead, Contact or Account can be pulled")
        return Answer(_verdict(await self._refetcher.read(entity, [record])), {})


def _verdict(outcome: Outcome) -> str:
    for verdict, word in _WORDS:
        if outcome.verdicts[verdict]:
            if verdict is Verdict.REPAIRED and outcome.repairs and outcome.repairs[0].reason == "missing":
                return "created"
            return word
    return "unsettled"


_WORDS = (
    (Verdict.EQUAL, "equal"),
    (Verdict.REPAIRED, "updated"),
    (Verdict.SETTLED, "equal"),
    (Verdict.ABSENT, "absent"),
)
