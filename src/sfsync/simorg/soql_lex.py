"""SOQL text cut into tokens, and the error block that points at one of them.

Source: SOQL and SOSL Reference, "Quoted String Escape Sequences", "Date Formats and Date Literals".
"""

import re
from dataclasses import dataclass

from sfsync.simorg.errors import ApiError

_TOKEN = re.compile(
    r"""
    (?P<blank>\s+)
  | (?P<string>'(?:[^'\\]|\\.)*')
  | (?P<datetime>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d))
  | (?P<date>\d{4}-\d\d-\d\d)
  | (?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
  | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<sign><=|>=|!=|<>|[(),.=<>:])
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", '"': '"', "'": "'", "\\": "\\"}
_ESCAPE = re.compile(r"\\(u[0-9A-Fa-f]{4}|.)", re.DOTALL)
_EXCERPT = 50


@dataclass(frozen=True, slots=True)
class Token:
    """One word, literal or sign, and where it begins; the last token of a text has kind `end`."""

    kind: str
    text: str
    start: int

    @property
    def word(self) -> str:
        """The token in capitals, as keywords are compared."""
        return self.text.upper()


class SoqlError(ApiError):
    """A query that the org refuses, with the place in the text."""

    def __init__(self, code: str, soql: str, start: int | None, message: str) -> None:
        super().__init__(code, message if start is None else f"{_pointer(soql, start)}\n{message}")


def tokenize(soql: str) -> list[Token]:
    """Cut *soql* into tokens, ending with one of kind `end`. Raises SoqlError."""
    tokens: list[Token] = []
    position = 0
    while position < len(soql):
        match = _TOKEN.match(soql, position)
        if match is None:
            unclosed = soql[position] == "'"
            message = (
                "line is not terminated: missing '" if unclosed else f"unexpected char: '{soql[position]}'"
            )
            raise SoqlError("MALFORMED_QUERY", soql, position, message)
        if match.lastgroup != "blank":
            tokens.append(Token(str(match.lastgroup), match.group(), position))
        position = match.end()
    tokens.append(Token("end", "<EOF>", len(soql.rstrip())))
    return tokens


def unescape(soql: str, token: Token) -> str:
    """Return what a string literal says. Raises SoqlError for an escape that SOQL does not know."""

    def meaning(match: re.Match[str]) -> str:
        code = match.group(1)
        if code.startswith("u") and len(code) == 5:
            return chr(int(code[1:], 16))
        if code in "_%":
            return code
        if code.lower() not in _ESCAPES:
            raise SoqlError("MALFORMED_QUERY", soql, token.start, "Illegal character escape sequence")
        return _ESCAPES[code.lower()]

    text = _ESCAPE.sub(meaning, token.text[1:-1])
    try:
        # Two escapes may be the halves of one character; half of one is none.
        return text.encode("utf-16", "surrogatepass").decode("utf-16") if "\\u" in token.text else text
    except UnicodeError as error:
        raise SoqlError("MALFORMED_QUERY", soql, token.start, "Illegal character escape sequence") from error


def like_pattern(soql: str, token: Token) -> re.Pattern[str]:
    """Return the expression that a LIKE literal stands for: `%` any text, `_` one character, `\\%` a percent sign."""
    parts = []
    for piece in re.findall(r"\\u[0-9A-Fa-f]{4}|\\.|.", token.text[1:-1], re.DOTALL):
        if piece == "%":
            parts.append(".*")
        elif piece == "_":
            parts.append(".")
        else:
            literal = unescape(soql, Token("string", f"'{piece}'", token.start))
            parts.append(re.escape(literal))
    return re.compile("".join(parts), re.IGNORECASE | re.DOTALL)


def _pointer(soql: str, start: int) -> str:
    row = soql.count("\n", 0, start) + 1
    line_start = soql.rfind("\n", 0, start) + 1
    line_end = soql.find("\n", start)
    line = soql[line_start : line_end if line_end >= 0 else len(soql)]
    column = start - line_start
    skip = max(0, column - _EXCERPT)
    excerpt = line[skip : column + _EXCERPT]
    return f"\n{excerpt}\n{' ' * (column - skip)}^\nERROR at Row:{row}:Column:{column + 1}"
