"""Which kinds of request there are, and who serves each."""

from __future__ import annotations

from collections.abc import Mapping

from .answering import Answer, Handler, Request
from .deciding import Deciding
from .importing import Importing
from .pull import Pull
from .purge import Purge
from .sweep import Sweeper
from .work import Work


def handlers(work: Work, sweeper: Sweeper) -> Mapping[str, Handler]:
    """Return the handler of each kind of request."""

    async def sweep(_request: Request) -> Answer:
        return Answer("swept", {"sweep_id": await sweeper.ask("request")})

    async def reload(_request: Request) -> Answer:
        if work.reload is None:
            raise ValueError("this process reads no configuration again")
        prepared = await work.reload()
        return Answer("reloaded", prepared.detail, afterwards=prepared.put_in_force)

    return {
        "sweep": sweep,
        "decide": Deciding(work).serve,
        "reload": reload,
        "pull": Pull(work).serve,
        "import": Importing(work).serve,
        "purge": Purge(work).serve,
    }
