"""Unified diffs in place of long texts, as Salesforce sends them for changes of a few lines.

Why: a client that takes the diff for the new value destroys the text; the simulated org therefore sends real ones.
Each hunk has no context lines and always both counts, lines are joined with a bare line feed even where the text
itself has CRLF, and the second header line carries the SHA-256 of the new text as stored.

Source: Change Data Capture guide, "Change Events for Large Text Fields"; the captured diff of that guide.
"""

import hashlib
import re
from difflib import SequenceMatcher

LENGTH_MIN = 1_000
LINE_END = re.compile(r"\r\n|\r|\n")


def diff_of(old: object, new: object) -> str | None:
    """Return the diff that leads from *old* to *new*, or None where Salesforce would send the whole text."""
    if not isinstance(old, str) or not isinstance(new, str) or min(len(old), len(new)) < LENGTH_MIN:
        return None
    # With line ends of two kinds nobody could put the text together again.
    if len({*LINE_END.findall(old), *LINE_END.findall(new)}) > 1:
        return None
    before, after = LINE_END.split(old), LINE_END.split(new)
    hunks = [
        code
        for code in SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
        if code[0] != "equal"
    ]
    lines_changed = sum(max(i2 - i1, j2 - j1) for _, i1, i2, j1, j2 in hunks)
    if not hunks or lines_changed > len(after) / 4:
        return None
    lines = ["--- ", f"+++ {hashlib.sha256(new.encode()).hexdigest()}"]
    for _, i1, i2, j1, j2 in hunks:
        lines.append(f"@@ -{_range(i1, i2)} +{_range(j1, j2)} @@")
        lines += ["-" + line for line in before[i1:i2]]
        lines += ["+" + line for line in after[j1:j2]]
    diff = "\n".join(lines)
    return diff if len(diff) < len(new) else None


def _range(start: int, end: int) -> str:
    """Return a hunk's range, counted from 1; an empty one names the line before it."""
    return f"{start + 1 if end > start else start},{end - start}"
