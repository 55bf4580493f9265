"""Recipes of the stream: events that come otherwise than they should, and lines that break."""

from __future__ import annotations

from .recipe import recipe
from .scene import Scene


@recipe(
    "a change event comes without its body (GAP_CREATE)",
    expected="The record is marked dirty and read once REST cannot show the past any more (sync.settle_s).",
)
async def gap(scene: Scene) -> None:
    await scene.plant("gap", match="^Lead/")
    await scene.create("Lead")


@recipe(
    "an event speaks of all records at once (a wildcard id)",
    expected="The entity is read in full: what changed cannot be known.",
)
async def wildcard(scene: Scene) -> None:
    await scene.plant("wildcard", match="^Lead/")
    await scene.create("Lead")


@recipe(
    "a transaction is too large for events (GAP_OVERFLOW)",
    expected="The entity is swept again from before the transaction.",
)
async def overflow(scene: Scene) -> None:
    await scene.plant("overflow", match="^Lead/")
    await scene.transact(*(scene.creation("Lead", f"lead{number}") for number in range(5)))


@recipe(
    "an event is lost on the way",
    expected="Nobody can know until the next sweep (sync.sweep_interval_s) finds it, repairs it and counts it as drift.",
)
async def lost_event(scene: Scene) -> None:
    await scene.plant("lose_event", match="^Lead/")
    await scene.create("Lead")
    await scene.grow_old()


@recipe("an event is delivered twice", expected="The second one changes nothing.")
async def doubled_event(scene: Scene) -> None:
    await scene.plant("duplicate_event", match="^Lead/")
    await scene.create("Lead")


@recipe(
    "an event cannot be decoded (its header is missing)",
    expected="It is parked as a dead letter and stops nobody else; what it spoke of is read anew.",
)
async def malformed_event(scene: Scene) -> None:
    await scene.plant("malformed_event", form="no_header", match="^Lead/")
    await scene.create("Lead")


@recipe(
    "the line is cut while events are on it",
    expected="A new session starts from the committed position, and Salesforce sends them again.",
)
async def cut_line(scene: Scene) -> None:
    await scene.plant("cometd_cut", match="events=[1-9]")
    await scene.create("Lead")


@recipe(
    "the network to Salesforce is away for a while",
    expected="Stream and reads are retried with growing waits (sync.backoff_s_max); then everything is caught up.",
)
async def network_cut(scene: Scene) -> None:
    await scene.plant("cometd_cut", times=None)
    await scene.plant("cut", times=None)
    await scene.create("Lead")
    await scene.saw("outage.began", outage="stream")
    await scene.saw("outage.began", outage="sweep")
    scene.struck()
    await scene.heal()


@recipe(
    "Salesforce has forgotten our place in the stream (72 h)",
    expected="It is subscribed at the tip first and swept after that; not ready meanwhile.",
)
async def expired_position(scene: Scene) -> None:
    await scene.plant("expire_replay")
    await scene.plant("cometd_cut")
    await scene.create("Lead")
    await scene.saw("stream.position.expired")


@recipe(
    "the stream starves: subscribed, answered, nothing delivered",
    expected="Two sweeps in a row repair what should have come; then the session is ended for a fresh one.",
)
async def starvation(scene: Scene) -> None:
    await scene.plant("withhold", times=None)
    for number in (1, 2):
        await scene.create("Lead")
        await scene.grow_old()
        scene.struck()
        await scene.saw("sweep.drift.found", times=number)
    await scene.saw("stream.starved")
    await scene.heal()
    await scene.saw("stream.subscription.opened")
