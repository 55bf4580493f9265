"""The table of types is a promise to applications: the document shows the code's."""

from __future__ import annotations

from sfsync.core.values import TYPES, UNMAPPED
from tests.structure import types_document
from tests.structure.source import ROOT

DESCRIBED = """id reference string textarea email phone url picklist combobox encryptedstring multipicklist boolean int
    double currency percent long date datetime time address location base64 anyType complexvalue json"""


def test_document_shows_the_table() -> None:
    """docs/types.md is what applications' authors read: `make docs` brings it up to date."""
    assert (ROOT / "docs" / "types.md").read_text() == types_document.render()


def test_every_describe_type_is_declared() -> None:
    """A type that is in neither list would be refused without a reason."""
    assert set(DESCRIBED.split()) == TYPES.keys() | UNMAPPED.keys()
    assert not TYPES.keys() & UNMAPPED.keys()
