"""Exit codes: what a script or a supervisor may conclude.

Why: a supervisor must not restart what only an operator can mend (2), and must know a stand-by that lost its race
(3) from a crash (1).
"""

from __future__ import annotations

from ..errors import ConfigError, FencedError, OrgMismatchError, SchemaError

OK = 0
FOUND = 1
CONFIGURATION = 2
FENCED = 3
INTERRUPTED = 130

MEANING = """exit codes:
  0    ok
  1    found something wrong, or failed
  2    the configuration, the database or the org is not what it must be; restarting does not help
  3    another process leads this org
  130  interrupted
"""


def exit_code(error: BaseException) -> int:
    """Return the exit code for *error*; of a group, the most telling one."""
    if isinstance(error, BaseExceptionGroup):
        return max(exit_code(inner) for inner in error.exceptions)
    match error:
        case FencedError():
            return FENCED
        case ConfigError() | SchemaError() | OrgMismatchError():
            return CONFIGURATION
        case KeyboardInterrupt():
            return INTERRUPTED
        case _:
            return FOUND
