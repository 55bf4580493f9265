"""Checks on what the control API is given: each refusal says what is wrong, where, and what to do."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, fields
from typing import Any, get_type_hints

from aiohttp import web

from sfsync.simorg.ids import KEY_PREFIXES
from sfsync.simorg.json_body import read_json, write_json
from sfsync.simorg.push_settings import CHOICES, UNSUPPORTED

# As seconds it is thirty years, and no sum of it with an instant leaves the calendar.
NUMBER_MAX = 1_000_000_000


class ControlError(Exception):
    """A request that cannot be done; its text says what, where and what to do."""


_KINDS: dict[str, tuple[type, ...]] = {
    "a string": (str,),
    "a whole number": (int,),
    "a number": (int, float),
    "true or false": (bool,),
    "an object": (dict,),
    "a list": (list,),
}


@dataclass(frozen=True, slots=True)
class Input:
    """A JSON object and the words for where it stands, for error messages."""

    where: str
    members: Mapping[str, Any]

    def only(self, *names: str) -> "Input":
        """Return itself. Raises ControlError if it has other members than *names*."""
        unknown = sorted(set(self.members) - set(names))
        if unknown:
            known = ", ".join(names) or "none"
            raise ControlError(f"{self.where}: unknown key {unknown[0]!r}; known are {known}")
        return self

    def optional(self, name: str, kind: str) -> Any:
        """Return a member, None if it is missing. Raises ControlError if it is not *kind*."""
        value = self.members.get(name)
        if value is None:
            return None
        if not isinstance(value, _KINDS[kind]) or (isinstance(value, bool) and kind != "true or false"):
            raise ControlError(f"{self.where}: {name} must be {kind}; got {value!r}")
        return value

    def required(self, name: str, kind: str) -> Any:
        """Return a member. Raises ControlError if it is missing or not *kind*."""
        value = self.optional(name, kind)
        if value is None:
            raise ControlError(f"{self.where}: {name} is missing; it must be {kind}")
        return value

    def within(self, name: str, least: float, most: float) -> float | None:
        """Return a number, None if it is missing. Raises ControlError if it lies outside *least* to *most*."""
        value: float | None = self.optional(name, "a number")
        if value is not None and not least <= value <= most:
            raise ControlError(f"{self.where}: {name} must lie between {least:,} and {most:,}; got {value}")
        return value

    def chosen(self, name: str, among: Collection[str]) -> str:
        """Return a string that is one of *among*. Raises ControlError otherwise."""
        value: str = self.required(name, "a string")
        if value not in among:
            raise ControlError(
                f"{self.where}: {name} must be one of {', '.join(sorted(among))}; got {value!r}"
            )
        return value

    def texts(self, name: str) -> list[str]:
        """Return a list of strings. Raises ControlError otherwise."""
        value: list[str] = self.required(name, "a list")
        if not all(isinstance(element, str) for element in value):
            raise ControlError(f"{self.where}: {name} must hold strings only; got {value!r}")
        return value


def answering(
    handler: Callable[[web.Request], Awaitable[Any]],
) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Return the web handler that answers with *handler*'s JSON, or with 400 and what is wrong."""

    async def answer(request: web.Request) -> web.Response:
        try:
            body, status = await handler(request), 200
        except ControlError as error:
            body, status = {"error": str(error)}, 400
        return web.Response(
            body=write_json(body), status=status, content_type="application/json", charset="UTF-8"
        )

    return answer


async def input_of(request: web.Request) -> Input:
    """Return the JSON object in the body; an empty body is an empty object. Raises ControlError."""
    where = f"{request.method} {request.path}"
    body = await request.read()
    try:
        members = read_json(body) if body.strip() else {}
    except ValueError as error:
        raise ControlError(f"{where}: the body is no JSON: {error}") from error
    if not isinstance(members, dict):
        raise ControlError(f"{where}: the body must be a JSON object; got {type(members).__name__}")
    return Input(where, members)


def change_settings(settings: Any, given: Input) -> None:
    """Put *given* into a settings dataclass, all or nothing. Raises ControlError for unknown keys and wrong types."""
    kinds = get_type_hints(type(settings))
    given.only(*(field.name for field in fields(settings)))
    checked = {name: _setting(given, name, kinds[name]) for name in given.members}
    for name, value in checked.items():
        setattr(settings, name, value)


def _setting(given: Input, name: str, kind: Any) -> Any:
    if kind is bool:
        wanted = given.required(name, "true or false")
        if wanted and name in UNSUPPORTED:
            raise ControlError(f"{given.where}: {name} cannot be turned on: {UNSUPPORTED[name]}")
        return wanted
    if name in CHOICES:
        return given.chosen(name, CHOICES[name])
    if kind is str:
        return given.required(name, "a string")
    return _number(given, name, kind) if kind in (int, float) else _entities(given, name)


def _number(given: Input, name: str, kind: Any) -> Any:
    number = kind(given.required(name, "a whole number" if kind is int else "a number"))
    if not 0 <= number <= NUMBER_MAX:
        wrong = "be negative" if number < 0 else f"exceed {NUMBER_MAX:,}"
        raise ControlError(f"{given.where}: {name} must not {wrong}; got {number}")
    if name == "auth_http_status" and number not in (200, 401):
        raise ControlError(f"{given.where}: {name} must be 200 or 401; got {number}")
    return number


def _entities(given: Input, name: str) -> list[str]:
    """Return a list of texts, which are entities where the setting's name says so."""
    texts = given.texts(name)
    unknown = [text for text in texts if name.endswith("entities") and text not in KEY_PREFIXES]
    if unknown:
        raise ControlError(f"{given.where}: {name}: there is no entity {unknown[0]!r}")
    return texts
