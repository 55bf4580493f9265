"""What a run of histories must have met, and how often: less is "did not test", which fails like a violation.

Why: the lists come from the code where the code has one (the enums of the ordering rule and of imports, the faults
that the org knows, the branches of the rules, the acts), so that what is added there is asked for here. What no history
can reach stands in `UNREACHED` with the reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from sfsync.core.commands import Cause
from sfsync.core.importing import Fate
from sfsync.core.order import Verdict
from sfsync.simorg.faults import KINDS

from .branches import listed
from .chaos import ALL
from .met import RANKS

UNREACHED: Mapping[str, str] = {
    "mark: unannounced_field": "no formula is mapped, and only of formulas events keep silent",
}
LEAST: Mapping[str, int] = {"act": 10, "fault": 3, "verdict": 5, "mark": 3, "network": 10, "postgres": 10}
"""For each group, how often in 1,000 histories; once where it is not named."""
SELDOM = frozenset({"verdict: kept_aside", "network: hole"})
"""What two hundred histories need not meet although their group is met often; once in a thousand is enough."""
_ALSO = {
    "fault": (
        *("kill", "kill in a transaction", "kill at the start", "SIGTERM", "signal storm", "postgres down"),
        *(
            "second daemon",
            "second daemon in an outage",
            "clock jump",
            "weather",
            "revoked",
            "events delayed",
        ),
        *("suffix repeated", "reconnects cut", "decline", "sync of pending", "sync of declined", "import"),
        *("pull asked for", "erasure asked for"),
        *(f"mapping changed by {how}" for how in ("SIGHUP", "request", "start")),
        *(f"field {action}" for action in ("add", "remove", "retype", "hide", "show")),
    ),
    "network": ("cut", "hole", "slice", "slow", "refused"),
    "postgres": ("lost before", "lost after", "refused"),
    "identity": (
        *("person merged", "person converted, lead shows through"),
        *("person merged+converted, lead shows through", "company merged"),
    ),
    "skipped": ("duplicate", "unwanted"),
    "reading": ("schedule", "tip", "overflow", "wildcard", "malformed"),
    "end": ("FencedError", "read again", "heard again"),
}


def expected() -> Mapping[str, int]:
    """Return how often in 1,000 histories each thing must be met at least."""
    named: Mapping[str, Iterable[str]] = {
        "act": ALL,
        "verdict": Verdict,
        "mark": Cause,
        "import": Fate,
        "speaks": RANKS,
        "branch": listed(),
    }
    wanted = [(group, str(name)) for group, names in named.items() for name in names]
    wanted += [(group, name) for group, names in _ALSO.items() for name in names]
    wanted += [("fault", kind) for kind in KINDS]
    return {
        f"{group}: {name}": 1 if f"{group}: {name}" in SELDOM else LEAST.get(group, 1)
        for group, name in wanted
        if f"{group}: {name}" not in UNREACHED
    }


def not_tested(counts: Counter[str], histories: int) -> list[str]:
    """Name what *histories* should have met and did not, or less often than they must.

    What a thousand meet once, fewer need not meet.
    """
    return [
        f"{name} ({counts[name]} of {least})"
        for name, per_thousand in expected().items()
        if counts[name] < (least := per_thousand * histories // 1_000)
    ]
