"""What is copied into a deployment names settings that exist and starts commands that exist."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from pydantic import BaseModel

from sfsync.config import Settings, load_settings
from tests.structure.source import ROOT

DOCUMENTS = sorted(
    path
    for path in [
        *(ROOT / "docker").iterdir(),
        *(ROOT / "docs").glob("*.md"),
        ROOT / "README.md",
        ROOT / "Makefile",
    ]
    if path.is_file()
)
VARIABLE = re.compile(r"SFSYNC_([A-Z]+)__([A-Z_]+)")
PLACEHOLDERS = {("SECTION", "KEY")}


def is_setting(section: str, key: str) -> bool:
    field = Settings.model_fields.get(section.lower())
    model = field.annotation if field else None
    return isinstance(model, type) and issubclass(model, BaseModel) and key.lower() in model.model_fields


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_environment_variables_are_settings(document: Path) -> None:
    """A misspelt variable in a compose file is refused at start, on the evening of the deployment."""
    named = set(VARIABLE.findall(document.read_text())) - PLACEHOLDERS
    assert [f"SFSYNC_{section}__{key}" for section, key in named if not is_setting(section, key)] == []


def test_example_configuration_is_valid(tmp_path: Path) -> None:
    """It is what everybody starts from."""
    shutil.copy(ROOT / "docker" / "sfsync.toml.example", tmp_path / "sfsync.toml")
    for name, secret in (
        ("private_key.pem", "not a key"),
        ("dsn", "postgresql://sfsync:secret@localhost/crm"),
    ):
        (tmp_path / name).write_text(secret)
        (tmp_path / name).chmod(0o600)
    settings = load_settings(tmp_path / "sfsync.toml", {})
    assert settings.store.dsn is not None
    assert settings.salesforce.private_key is not None


def test_image_is_built_from_what_is_locked() -> None:
    """A package that is fetched without its hash is one that somebody else chose."""
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text().replace("\\\n", " ")
    installs = re.findall(r"pip.*? install [^&\n]*", dockerfile)
    assert len(installs) == 3
    assert all("--require-hashes" in install or "--no-deps" in install for install in installs)
