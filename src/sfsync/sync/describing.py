"""Ask an org to describe the three entities, as far as this user may see them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.ids import Entity
from ..errors import QueryError
from ..salesforce.rest import Rest

_NOT_FOR_THIS_USER = frozenset({"NOT_FOUND", "INVALID_TYPE", "INSUFFICIENT_ACCESS"})


async def describe_entities(rest: Rest) -> dict[Entity, Mapping[str, Any]]:
    """Return the describe of each entity; an entity that this user may not see is left out, which `bind` reports."""
    described: dict[Entity, Mapping[str, Any]] = {}
    for entity in Entity:
        try:
            described[entity] = await rest.describe(entity.value)
            # failpoint: describe.answered - an entity was described
        except QueryError as error:
            if error.code not in _NOT_FOR_THIS_USER:
                raise
    return described
