"""Write the views that say where to write to a person: `crm.person_address`, `address_candidate`, `address_suggestion`.

Why: an application joins them to its own tables, so the rule of core/address.py is said again in SQL, over the
columns that the mapping feeds; a test compares both over random rows. They read people and companies as they are, so
an account's new address is every one of its people's at the next read. Names and types of their columns are the
same for every mapping, so that a view can be replaced under whoever uses it. A person whose row may not be touched
keeps the company it had, so a company that was merged away is followed to the one that took its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..core.address import BLANKS, FILLING_PARTS, HYPHENS, JAPAN, REQUIRED_PARTS, Side, required
from .generated import Generated

Mapped = Mapping[Side, Mapping[str, str]]
"""The parts that are mapped, with their Postgres types, by side."""

_TEXTS = (*FILLING_PARTS, "country", "prefecture_code", "country_code")
_NUMBERS = ("latitude", "longitude")
_NUMERIC = ("double precision", "numeric", "integer", "bigint")
_ALIASES = {Side.COMPANY: "c", Side.PERSON: "p"}

_CHOICE = """
    FROM crm.person AS p
    LEFT JOIN crm.company AS linked ON linked.id = p.company_id
    LEFT JOIN crm.company AS c ON c.id = COALESCE(linked.merged_into, linked.id)
    CROSS JOIN LATERAL (
        SELECT
            {company_filled} AS company_filled,
            {person_filled} AS person_filled,
            COALESCE(
                p.address_preference,
                (SELECT s.value FROM sfsync.setting AS s WHERE s.name = 'default_address_side'),
                'company'
            ) AS preferred
        OFFSET 0
    ) AS f
    CROSS JOIN LATERAL (
        SELECT CASE
            WHEN f.company_filled = f.person_filled THEN f.preferred
            WHEN f.company_filled THEN 'company'
            ELSE 'person'
        END AS chosen
    ) AS w"""

_ADDRESS = """
CREATE OR REPLACE VIEW crm.person_address AS
SELECT
    a.person_id, a.side, a.reason, cardinality(a.missing) > 0 AS needs_address_entry, a.missing,
    {shown}
FROM (
    SELECT
        p.id AS person_id,
        w.chosen AS side,
        CASE
            WHEN NOT f.company_filled AND NOT f.person_filled THEN 'both_empty'
            ELSE CASE WHEN p.address_preference IS NULL THEN 'default' ELSE 'chosen' END
                || CASE WHEN w.chosen = f.preferred THEN '' ELSE '_is_empty' END
        END AS reason,
        {parts}{choice}
    WHERE {active}
) AS a
"""

_CANDIDATE = """
CREATE OR REPLACE VIEW crm.address_candidate AS
SELECT
    a.person_id, a.side, a.is_chosen, a.is_filled, a.missing,
    {shown}
FROM (
    SELECT
        p.id AS person_id,
        b.side,
        b.side = w.chosen AS is_chosen,
        CASE b.side WHEN 'company' THEN f.company_filled ELSE f.person_filled END AS is_filled,
        {parts}{choice}
    CROSS JOIN (VALUES ('company'), ('person')) AS b (side)
    WHERE {active}
) AS a
"""

_ACTIVE = """p.merged_into IS NULL AND p.deleted_at IS NULL
        AND p.org = (SELECT o.id FROM sfsync.org AS o WHERE o.is_bound)"""

_SUGGESTION = """
CREATE OR REPLACE VIEW crm.address_suggestion AS
SELECT
    a.person_id, a.side, a.postal_code, z.prefecture, z.city, z.town,
    (sfsync.is_blank(a.prefecture) OR sfsync.trimmed(a.prefecture) = z.prefecture)
        AND (sfsync.is_blank(a.city) OR sfsync.trimmed(a.city) = z.city) AS agrees
FROM crm.person_address AS a
JOIN sfsync.postal_code AS z ON z.code = replace(a.postal_code, '-', '')
WHERE a.missing && ARRAY['prefecture', 'city'] AND sfsync.is_japanese(a.country, a.country_code)
"""


def address_objects(mapped: Mapped) -> Iterator[Generated]:
    """Return the functions and views of the address rule, in the order in which they can be made."""
    yield from _functions()
    columns = {"shown": _shown(), "choice": _choice(mapped), "active": _ACTIVE}
    yield Generated(
        "VIEW",
        "crm.person_address",
        "Where to write to each active person, and what of the address is missing.",
        _ADDRESS.format(parts=_parts(mapped, "w.chosen"), **columns),
    )
    yield Generated(
        "VIEW",
        "crm.address_candidate",
        "Both addresses of each active person, and which one is chosen.",
        _CANDIDATE.format(parts=_parts(mapped, "b.side"), **columns),
    )
    yield Generated(
        "VIEW",
        "crm.address_suggestion",
        "Prefecture and city that the postal code proposes where one of them is missing.",
        _SUGGESTION,
    )


def _functions() -> Iterator[Generated]:
    """Say what is white space, Japan and a postal code; each is simple enough to be inlined into the views.

    RETURN binds what a function calls when it is made: who reads a view may not look into schema sfsync.
    """
    bodies = {
        "trimmed(value text)": f"btrim(value, {_characters(BLANKS)})",
        # The first character tells for nearly every text, and costs a twentieth of trimming.
        "is_blank(value text)": (
            "CASE WHEN ascii(value) BETWEEN 33 AND 126 OR ascii(value) BETWEEN 12289 AND 65278 THEN false"
            f" ELSE COALESCE(btrim(value, {_characters(BLANKS)}), '') = '' END"
        ),
        "plain_code(value text)": (
            f"translate(normalize(value, NFKC), {_characters(HYPHENS + BLANKS + '〒')},"
            f" '{'-' * len(HYPHENS)}')"
        ),
        "is_japanese(country text, code text)": (
            f'COALESCE(lower(sfsync.trimmed(country) COLLATE "C") IN ({_words(JAPAN)}), false)'
            f' OR COALESCE(lower(sfsync.trimmed(code) COLLATE "C") IN ({_words(JAPAN)}), false)'
            " OR sfsync.is_blank(country) AND sfsync.is_blank(code)"
        ),
        "displayed_postal_code(value text, country text, code text)": (
            "CASE WHEN value ~ '^[0-9]{3}-[0-9]{4}$' THEN value"
            " WHEN value ~ '^[0-9]{7}$' AND sfsync.is_japanese(country, code)"
            " THEN left(value, 3) || '-' || right(value, 4)"
            " WHEN sfsync.plain_code(value) ~ '^[0-9]{3}-?[0-9]{4}$' AND sfsync.is_japanese(country, code)"
            " THEN regexp_replace(sfsync.plain_code(value), '^([0-9]{3})-?', '\\1-') ELSE value END"
        ),
    }
    for signature, body in bodies.items():
        name, _, arguments = signature.partition("(")
        types = ", ".join(argument.split()[1] for argument in arguments.rstrip(")").split(", "))
        yield Generated(
            "FUNCTION",
            f"sfsync.{name}({types})",
            "A part of the address rule.",
            f"CREATE OR REPLACE FUNCTION sfsync.{signature} RETURNS {'boolean' if name[:3] == 'is_' else 'text'}\n"
            f"LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN ({body})",
        )


def _characters(characters: str) -> str:
    return "E'" + "".join(f"\\u{ord(character):04x}" for character in characters) + "'"


def _words(words: frozenset[str]) -> str:
    return ", ".join(f"'{word}'" for word in sorted(words))


def _choice(mapped: Mapped) -> str:
    filled = {
        f"{side}_filled": " OR ".join(
            f"NOT sfsync.is_blank({_part(mapped, side, part)})"
            for part in FILLING_PARTS
            if part in mapped[side]
        )
        or "false"
        for side in Side
    }
    return _CHOICE.format(**filled)


def _part(mapped: Mapped, side: Side, part: str) -> str:
    """Write a part of one side as it is; null when the mapping does not feed it."""
    kind = mapped[side].get(part)
    name = f"{_ALIASES[side]}.{part}"
    if part in _NUMBERS:
        return f"{name}::double precision" if kind in _NUMERIC else "NULL::double precision"
    if kind is None:
        return "NULL::text"
    return name if kind == "text" else f"{name}::text"


def _parts(mapped: Mapped, side: str) -> str:
    """Write the parts of the side that the expression *side* names, and which of them are missing."""
    absent = ", ".join(f"CASE WHEN {_lacks(mapped, side, part)} THEN '{part}' END" for part in REQUIRED_PARTS)
    columns = [f"array_remove(ARRAY[{absent}], NULL) AS missing"]
    columns += [
        f"CASE {side} WHEN 'company' THEN {_part(mapped, Side.COMPANY, part)}"
        f" ELSE {_part(mapped, Side.PERSON, part)} END AS {part}"
        for part in (*_TEXTS, *_NUMBERS)
    ]
    return ",\n        ".join(columns)


def _lacks(mapped: Mapped, side: str, part: str) -> str:
    tests = [
        f"{side} = '{one}' AND sfsync.is_blank({_part(mapped, one, part)})"
        for one in Side
        if part in required(mapped[one])
    ]
    return " OR ".join(tests) or "false"


def _shown() -> str:
    code = "sfsync.displayed_postal_code(a.postal_code, a.country, a.country_code) AS postal_code"
    rest = [f"a.{part}" for part in (*_TEXTS[1:], *_NUMBERS)]
    return ", ".join([code, *rest, "a.postal_code AS postal_code_original"])
