"""A mapping that changes under a running daemon: by an administrator's click and by an operator's slip."""

from __future__ import annotations

import signal
from pathlib import Path

from sfsync.core.mapping_file import default_mapping_text
from tests.acceptance.stage import PATIENCE_S, Daemon, SimOrg, Stage
from tests.simorg.site import eventually


def write_mapping(directory: Path, *more: str) -> Path:
    """The shipped mapping as a file, with a number of contacts and *more* lines added to [person]."""
    path = directory / "mapping.toml"
    lines = "\n".join(["[person]", 'level = { contact = "Level__c" }', *more, ""])
    path.write_text(default_mapping_text().replace("[person]\n", lines, 1))
    return path


def administer(org: SimOrg, action: str, **field: str) -> None:
    """Change the field `Level__c` of contacts."""
    body = {"entity": "Contact", "action": action, "field": {"name": "Level__c", **field}}
    org.control("POST", "fields", body)


async def arrives(stage: Stage, contact: str, column: str, value: object) -> None:
    """Wait until a contact's person shows a value."""
    query = f"SELECT {column} = $2 FROM crm.person WHERE salesforce_id = $1"
    await eventually(lambda: stage.value(query, contact, value), PATIENCE_S)


async def test_hidden_field_and_faulty_mapping_stop_nothing(stage: Stage, tmp_path: Path) -> None:
    """Events go on through a lost field, a restart without it, and a mapping that nobody should have saved."""
    org = stage.org
    administer(org, "add", type="double")
    settings = {"SFSYNC_MAPPING__FILE": str(write_mapping(tmp_path)), "SFSYNC_SYNC__SWEEP_INTERVAL_S": "3600"}
    daemon = stage.daemon(settings).wait_ready()
    contact = org.create("Contact", LastName="Levelled", Level__c=7)
    await arrives(stage, contact, "level", 7)

    administer(org, "hide")
    daemon.kill()
    daemon = stage.daemon(settings).wait_ready()
    daemon.wait_for("mapping.column.suspended", column="level", field="Contact.Level__c")
    org.update(contact, LastName="Renamed", Level__c=8)
    await arrives(stage, contact, "last_name", "Renamed")
    assert await stage.value("SELECT level FROM crm.person WHERE salesforce_id = $1", contact) == 7

    refuse_a_slip(daemon, tmp_path)
    org.update(contact, LastName="Again")
    await arrives(stage, contact, "last_name", "Again")

    write_mapping(tmp_path)
    administer(org, "show")
    daemon.signal(signal.SIGUSR1)
    daemon.wait_for("mapping.column.resumed", column="level")
    await arrives(stage, contact, "level", 8)
    await stage.must_be_equal()
    assert daemon.terminate() == 0


def refuse_a_slip(daemon: Daemon, directory: Path) -> None:
    """Let an operator map what is not there and reload."""
    write_mapping(directory, 'rank = { contact = "Rank__c" }')
    daemon.signal(signal.SIGHUP)
    refused = daemon.wait_for("mapping.refused")
    assert "person.rank: Contact.Rank__c is not there" in refused["error"]
