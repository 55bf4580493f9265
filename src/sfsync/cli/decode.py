"""`sfsync decode`: print what captured change events say, and what the daemon would do about each record.

Why: the same `decode` and `decide` as in the daemon, offline: no org, no database, no configuration. So the
commands are those of the default mapping, with the types that the standard fields have in every org. Whatever
shape a capture tool left a message in is unwrapped; what cannot be read is one `error` line and does not
hide the rest.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TextIO

import msgspec

from ..core.commands import Command, Image, Patch, Refetch, Resweep
from ..core.decide import Plans, decide
from ..core.decode import HEADER, decode_payload
from ..core.events import ChangeEvent, Event, MalformedEvent, WildcardEvent
from ..core.ids import PREFIXES, Entity
from ..core.jsontext import parse_json
from ..core.mapping import bind
from ..core.mapping_file import default_mapping
from ..core.standard_fields import standard_describe
from .findings import printable_json

_PUBSUB = "the Pub/Sub API's form of a change event (Avro), which sfsync does not read yet; capture by CometD"
_FOREIGN = "not a change event: neither ChangeEventHeader nor payload, data or detail is in it"
# A capture is an array of messages, or of replies that are arrays of messages.
_DEPTH_MAX = 4

_encoder = msgspec.json.Encoder(decimal_format="number")
_Line = dict[str, Any]


def decode_files(paths: Sequence[str], out: TextIO) -> int:
    """Print one JSON line per change event in the files (`-` is standard input) to *out*.

    Returns the exit status: 1 when a file or an event could not be read, which is then a line with `error`.
    """
    if isinstance(out, io.TextIOWrapper):
        # JSON is UTF-8, whatever the locale; without one, Python would fail at the first Japanese name.
        out.reconfigure(encoding="utf-8")
    failed = False
    for path in paths:
        # A name of bytes that are no UTF-8 is read as it is, and told as well as JSON can.
        shown = os.fsencode(path).decode("utf-8", "replace")
        for line in _lines_of(path, shown):
            failed = failed or "error" in line
            out.write(_render(line) + "\n")
    return int(failed)


def _lines_of(path: str, shown: str) -> Iterator[_Line]:
    try:
        captured = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        yield {"file": shown, "error": f"cannot be read: {error.strerror}"}
        return
    for document in _documents(captured):
        for payload in [str(document)] if isinstance(document, ValueError) else _payloads(document):
            if isinstance(payload, str):
                yield {"file": shown, "error": payload}
            else:
                yield from _describe(decode_payload(payload), shown)


def _documents(captured: bytes) -> Iterator[Any]:
    """Yield the JSON values of a file, usually one, or one on every line; a `ValueError` for what is none."""
    lines = [line for line in captured.splitlines() if line.strip()]
    whole = _parse(captured) if lines else ValueError("the file is empty")
    if isinstance(whole, ValueError) and len(lines) > 1 and isinstance(_parse(lines[0]), dict | list):
        yield from map(_parse, lines)
    else:
        yield whole


def _parse(text: bytes) -> Any:
    try:
        return parse_json(text)[0]
    except ValueError as error:
        return error


def _payloads(message: Any, depth: int = 0) -> Iterator[Mapping[str, Any] | str]:
    """Yield the payloads in whatever a capture tool kept, or why there is none; Bayeux's own talk is silent."""
    if isinstance(message, list) and depth < _DEPTH_MAX:
        for element in message:
            yield from _payloads(element, depth + 1)
    elif not isinstance(message, Mapping):
        yield _FOREIGN
    elif HEADER in message:
        yield _PUBSUB if _is_pubsub(message[HEADER]) else message
    elif not str(message.get("channel", "")).startswith("/meta/"):
        yield from _wrapped_payload(message, depth)


def _wrapped_payload(message: Mapping[str, Any], depth: int) -> Iterator[Mapping[str, Any] | str]:
    lower = {key.lower(): value for key, value in message.items()}
    if isinstance(lower.get("payload"), Mapping):
        payload = lower["payload"]
        yield from _payloads(payload, depth + 1) if HEADER in payload else [payload]
    elif "payload" in lower or "events" in lower or "payload" in _members(lower.get("event")):
        yield _PUBSUB
    elif isinstance(lower.get("data"), Mapping) and depth < _DEPTH_MAX:
        yield from _payloads(lower["data"], depth + 1)
    elif isinstance(lower.get("detail"), Mapping) and depth < _DEPTH_MAX:
        yield from _payloads(lower["detail"], depth + 1)
    else:
        yield _FOREIGN


def _members(value: Any) -> set[str]:
    return {key.lower() for key in value} if isinstance(value, Mapping) else set()


def _is_pubsub(header: Any) -> bool:
    """Only that API's headers list what was nulled and what came as a diff; theirs are never left out."""
    return isinstance(header, Mapping) and ("nulledFields" in header or "diffFields" in header)


def _describe(event: Event, path: str) -> Iterator[_Line]:
    commands = [_command(command) for command in decide(event, _offline_plans())]
    if isinstance(event, MalformedEvent):
        known = {"entity": event.entity, "record_ids": list(event.record_ids)}
        yield {"file": path, "error": event.reason} | (
            known | {"commands": commands} if event.record_ids else {}
        )
        return
    header = event.header
    line: _Line = {
        "entity": header.entity,
        "change_type": header.change_type.value,
        "record_ids": list(header.record_ids),
        "fields": dict(event.fields) if isinstance(event, ChangeEvent) else {},
    }
    if isinstance(event, WildcardEvent):
        line["record_ids"] = [f"{prefix}*" for prefix, entity in PREFIXES.items() if entity == header.entity]
    if isinstance(event, ChangeEvent) and event.missing:
        line["missing"] = sorted(event.missing)
    yield line | {"commands": commands}


def _command(command: Command) -> _Line:
    name = type(command).__name__.lower()
    if isinstance(command, Resweep):
        return {"command": name, "entity": command.entity.value, "in_full": command.in_full}
    line: _Line = {"record_id": command.record_id, "command": name}
    if isinstance(command, Patch | Image):
        line["fields"] = sorted(command.fields)
    if isinstance(command, Refetch):
        line["cause"] = command.cause.value
    return line


@cache
def _offline_plans() -> Plans:
    return bind(default_mapping(), {entity: standard_describe(entity) for entity in Entity}).plans


def _render(line: _Line) -> str:
    return printable_json(_encoder.encode(line).decode())
