"""Write docs/failpoints.md from the points in the source: `make docs`.

Why: the points move with the code; a list kept by hand would name some that are no more.
"""

from __future__ import annotations

from sfsync.failpoint import failpoints

HEADING = """\
# Failpoints

For tests of crashes, ours and yours. A failpoint is a place in the code, by name. With

```sh
SFSYNC_FAILPOINT=commit.sent:3 sfsync run
```

the daemon kills itself by SIGKILL where it comes to `commit.sent` for the third time (without `:N`: the first time): no
handler runs, nothing is flushed, as when the kernel ends a process or a machine loses power. It says `failpoint.armed`
at its start and `failpoint.reached` as its last line. Start it again without the variable, and the store must become
what it would be anyway; `sfsync check`, the feed and your application may be looked at meanwhile. Other commands of
`sfsync` obey the variable as well. A name that does not exist is a fault of configuration (exit code 2) that lists those
near it; `python -m sfsync.failpoint` lists all.

In the source a failpoint is a comment and nothing else: without the variable there is no call, no switch and no import.
With it, the one module that holds the point is compiled with a call in place of the comment.

Our own tests play every one of them (`tests/process/failpoint_scenes.py` says in which scene) and compare the whole
store with the simulated org, and the feed with what was written:

```sh
python -m tests.process.failpoints --times 3       # each at its first, second and third time; last one JSON line
```

"Sent" points strike while the next await waits: what it sends is on its way, and no answer was read.

This file is made by `make docs` from the source.

| failpoint | module | then |
|---|---|---|
"""


def render() -> str:
    """Return the whole document."""
    return HEADING + "".join(
        f"| `{point.name}` | {point.module.removeprefix('sfsync.')} | {point.meaning} |\n"
        for point in failpoints()
    )


if __name__ == "__main__":
    print(render(), end="")
