"""Recipes of what runs: the daemon, a second one, Postgres, and an org that is suddenly another."""

from __future__ import annotations

from .recipe import recipe
from .scene import NotSeenError, Scene

_REFUSED = 2


@recipe(
    "Postgres is restarted",
    expected="An outage; then it goes on from the position that was committed with the rows.",
)
async def postgres_restart(scene: Scene) -> None:
    server = scene.stage.plan.server
    await server.away()
    await scene.create("Lead")
    await server.back()


@recipe(
    "the daemon is killed (SIGKILL) in the middle of changes, and started again",
    expected="Nothing is lost and nothing applied twice: rows and position commit together.",
)
async def kill(scene: Scene) -> None:
    await scene.tell("life", {"rate": 40, "seed": 7})
    await scene.saw("stream.batch.applied", times=5)
    await scene.stage.daemon.kill()
    await scene.live_on()
    scene.struck()
    await scene.stage.start()


@recipe(
    "a second daemon is started, and the first one is killed",
    expected="The second waits, and takes over when the first is gone.",
)
async def second_daemon(scene: Scene) -> None:
    first = scene.stage.daemon
    second = await scene.stage.start()
    await scene.saw("leadership.waiting", by=second)
    await scene.create("Lead")
    await scene.equal()
    await first.kill()
    scene.struck()
    await scene.create("Lead")


@recipe(
    "the sandbox is refreshed: another org answers under the same login",
    expected="The daemon refuses to mix two orgs and ends with exit code 2, until an operator rebinds the store.",
    ends_stage=True,
)
async def sandbox_refresh(scene: Scene) -> None:
    org = (await scene.tell("org_id"))["org_id"]
    scene.struck()
    code = await scene.ended()
    if code != _REFUSED:
        raise NotSeenError(f"the daemon ended with exit code {code}; it must be {_REFUSED}")
    scene.refused(f"sfsync rebind --yes {org}, then sfsync run")
    await scene.stage.run("rebind", "--yes", org)
    await scene.stage.start()
