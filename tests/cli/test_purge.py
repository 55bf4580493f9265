"""`sfsync purge` beside a daemon: shown, confirmed, done, and told only to whoever asked."""

from __future__ import annotations

import asyncio
import os
import pty

from tests.cli.conftest import PATIENCE_S, Cli
from tests.cli.test_with_daemon import daemon, value


async def typed(cli: Cli, text: str, *words: str) -> tuple[int, str]:
    """Run a command on a terminal, type *text*, return its exit code and what it said."""
    ours, theirs = pty.openpty()
    try:
        process = await asyncio.create_subprocess_exec(
            *cli.words(*words),
            env=cli.full_environ(),
            stdin=theirs,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        os.write(ours, f"{text}\n".encode())
        async with asyncio.timeout(PATIENCE_S):
            out, _ = await process.communicate()
    finally:
        os.close(ours)
        os.close(theirs)
    return process.returncode or 0, out.decode()


async def test_purge_before_the_first_start_says_so(cli: Cli) -> None:
    """There is nobody to erase."""
    ended = await cli("purge", "42", "--yes")
    assert (ended.code, ended.err.strip()) == (
        2,
        "sfsync: the store is bound to no org yet: there is nobody to erase",
    )


async def test_purge_shows_asks_and_erases(cli: Cli, pg_dsn: str) -> None:
    """Nothing can be brought back, so nothing is removed until the very id was typed."""
    async with daemon(cli, pg_dsn):
        contact = await value(
            pg_dsn, "SELECT salesforce_id FROM crm.active_person WHERE source = 'contact' ORDER BY id LIMIT 1"
        )
        person = await value(
            pg_dsn, "SELECT person_id FROM crm.person_record WHERE salesforce_id = $1", contact
        )
        count = "SELECT count(*) FROM crm.person"
        people = await value(pg_dsn, count)

        shown = await cli("purge", contact[:15], "--dry-run", "--json")
        assert shown.code == 0, shown.err
        assert contact in shown.json["records"]
        assert person in shown.json["ids"]
        assert shown.json["would_remove"]["person"] == len(shown.json["ids"])

        await must_ask_first(cli, contact, person)
        assert await value(pg_dsn, count) == people
        assert await value(pg_dsn, "SELECT count(*) FROM sfsync.request WHERE kind = 'purge'") == 0

        code, said = await typed(cli, str(person), "purge", str(person), "--reason", "their letter")
        assert (code, said.strip().splitlines()[-1]) == (0, "purged")
        assert await value(pg_dsn, count) == people - len(shown.json["ids"])
        kept = await value(pg_dsn, "SELECT argument || detail FROM sfsync.request WHERE kind = 'purge'")
        assert "their letter" in kept
        assert contact[:15] not in kept

        again = await cli("purge", contact, "--yes")
        assert again.code == 1
        assert again.err.strip() == (
            f"sfsync: {contact}: this record was erased before: nothing of it is left but its keyed hash"
        )
        assert (await cli("status", "--json")).json["erased"]["records"] == len(shown.json["records"])
        assert "erased        " in (await cli("status")).out

        forgotten = await cli("purge", contact, "--forget-hash")
        assert forgotten.code == 0, forgotten.err
        assert "may come back, as somebody new" in forgotten.out


async def must_ask_first(cli: Cli, contact: str, person: int) -> None:
    """Without a terminal it asks for --yes; on one, only the very id is a yes."""
    unasked = await cli("purge", contact)
    assert unasked.code == 2
    assert "Columns that applications added to these rows go with them" in unasked.err
    assert unasked.err.strip().endswith("nobody is there to confirm: run it on a terminal, or add --yes")
    code, said = await typed(cli, "yes", "purge", str(person))
    assert (code, said.strip().splitlines()[-1]) == (
        1,
        f"This cannot be undone. Type {person} to erase: nothing was changed",
    )
