"""The mappings of the simulation: the shipped one with a custom field and a long text, and one that an operator puts in its place.

Why: made from the shipped one, so that they never lag behind it. The narrow one leaves columns out, and feeds one from
another field, of which the mirror knows nothing until it was read again.
"""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

_SHIPPED = files("sfsync.core").joinpath("default_mapping.toml").read_text("utf-8")
_WIDE = _SHIPPED.replace(
    "[person]\n",
    '[person]\nnickname = { contact = "Nickname__c", lead = "Nickname__c" }\n'
    'description = { contact = "Description", lead = "Description" }\n',
    1,
)
_NARROW = re.sub(
    r"^(?:website|industry|department|number_of_employees) = .*\n", "", _WIDE, flags=re.MULTILINE
)
_NARROW = _NARROW.replace('title = { contact = "Title"', 'title = { contact = "AssistantName"')


def write_mappings(directory: Path) -> dict[str, str]:
    """Write the mapping files, and return the path of each by its name."""
    paths = {}
    for name, text in (("wide", _WIDE), ("narrow", _NARROW)):
        path = directory / f"{name}.toml"
        path.write_text(text, "utf-8")
        paths[name] = str(path)
    return paths
