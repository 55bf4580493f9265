"""Play recipes one after the other and note what came of each.

Why: each recipe begins when the store equals the org and ends when it does again, so nothing of one is taken for the
doing of the next. Where that fails, or where a recipe leaves nothing to go on with, the next one gets a fresh stage.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from ...errors import ConfigError
from .recipe import Recipe
from .scene import NotSeenError, Scene
from .stage import Plan, Stage, Verdict, open_stage
from .story import grown, sentences, unusual


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one recipe; `problem` says why it did not converge, `operated` what an operator had to do."""

    recipe: Recipe
    did: Sequence[str] = ()
    events: Sequence[tuple[str, int]] = ()
    operated: Sequence[str] = ()
    calls: Sequence[str] = ()
    counters: dict[str, float] = field(default_factory=dict)
    converged_s: float | None = None
    verdict: Verdict | None = None
    undetectable: Sequence[str] = ()
    problem: str = ""
    is_refusal: bool = False

    @property
    def is_converged(self) -> bool:
        """Whether the store equals the org again, or a refusal came that had to come."""
        return not self.problem


class Play:
    """A run of recipes; `stage` is there while the block runs."""

    def __init__(self, plan: Plan, patience_s: float) -> None:
        self._plan = plan
        self._patience_s = patience_s
        self._opened = AsyncExitStack()
        self._stage: Stage | None = None

    async def __aenter__(self) -> Stage:
        return await self._stage_for()

    async def __aexit__(self, *_reason: object) -> None:
        await self._opened.aclose()

    async def outcomes(self, recipes: Sequence[Recipe]) -> AsyncIterator[Outcome]:
        """Play each recipe. Raises `ConfigError` when no stage can be set."""
        for one in recipes:
            stage = await self._stage_for()
            outcome = await _played(one, stage, self._patience_s)
            yield outcome
            if one.ends_stage or not outcome.is_converged:
                await self._opened.aclose()
                self._stage = None

    async def _stage_for(self) -> Stage:
        if self._stage is None:
            self._stage = await self._opened.enter_async_context(open_stage(self._plan))
        return self._stage


def _news(stage: Stage, verdict: Verdict | None) -> list[str]:
    """Return what this recipe did that nobody could know of."""
    found = [one for one in verdict.undetectable if one not in stage.undetectable] if verdict else []
    stage.undetectable.update(found)
    return found


async def _played(recipe: Recipe, stage: Stage, patience_s: float) -> Outcome:
    scene = Scene(stage, patience_s)
    first = stage.daemon
    before = await first.figures(stage.http, stage.plan.overlay.token)
    verdict: Verdict | None = None
    converged_s: float | None = None
    problem = ""
    try:
        await recipe.play(scene)
        verdict, converged_s = await scene.settled()
        await stage.org.forget("faults")
        await scene.nothing_owed()
        if scene.idle_faults:
            problem = f"did not strike: {', '.join(scene.idle_faults)}"
    except (NotSeenError, ConfigError) as error:
        problem = str(error)
    except TimeoutError:
        problem = f"it is equal, but records are dirty or readings owed for {patience_s:g} s"
    after = await stage.daemon.figures(stage.http, stage.plan.overlay.token)
    entries = scene.entries()
    return Outcome(
        recipe,
        [*scene.notes, *sentences(entries, stage.daemons)],
        unusual(entries),
        scene.operated,
        scene.calls,
        grown(before if stage.daemon is first else {}, after),
        converged_s if scene.refused_after_s is None else scene.refused_after_s,
        verdict,
        _news(stage, verdict),
        problem,
        scene.refused_after_s is not None,
    )
