"""A recipe: what happens to an org or to a daemon, how it is made to happen, and what is expected in general.

Why: a recipe is a function that acts and waits; what the daemon did about it is not written here but read from its log,
so that a recipe cannot claim what did not happen.
"""

from __future__ import annotations

import difflib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from ...errors import ConfigError
from .scene import Scene

Play = Callable[[Scene], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Recipe:
    """One recipe. `trigger` completes "what happens to my configuration when …", `expected` says what in general."""

    name: str
    trigger: str
    expected: str
    play: Play
    ends_stage: bool = False


RECIPES: dict[str, Recipe] = {}
"""All recipes by name, in the order in which they are played."""


def recipe(trigger: str, *, expected: str, ends_stage: bool = False) -> Callable[[Play], Play]:
    """Make a recipe of a function; its name, with hyphens, is the recipe's. `ends_stage`: nothing can follow it."""

    def register(play: Play) -> Play:
        name = play.__name__.replace("_", "-")
        RECIPES[name] = Recipe(name, trigger, expected, play, ends_stage)
        return play

    return register


def chosen(names: Sequence[str]) -> list[Recipe]:
    """Return the recipes of these names, all when there are none. Raises `ConfigError` with near names."""
    unknown = [name for name in names if name not in RECIPES]
    if unknown:
        near = difflib.get_close_matches(unknown[0], RECIPES, n=3, cutoff=0.4)
        near += [name for name in RECIPES if unknown[0] and unknown[0] in name and name not in near]
        hint = f"did you mean {', '.join(near)}?" if near else "sfsync chaos --list names them"
        raise ConfigError(f"there is no recipe {unknown[0]!r}; {hint}")
    return [one for name, one in RECIPES.items() if not names or name in names]
