"""Identifiers that have a form, replaced by placeholders. This is no anonymisation, and no substitute for ε."""

import re
from collections import Counter
from collections.abc import Sequence

PLAINLY = (
    "this is no anonymisation and no substitute for ε: names, places and much else stay, and what has another form "
    "than its pattern does"
)

_MONTH = (
    r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|sept|oct|nov|dec|january|february|march|april|june|july|august|september"
    r"|october|november|december)\.?"
)
PATTERNS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("URL", re.compile(r"\b(?:https?://|www\.)[^\s<>\"')\]]*[^\s<>\"')\].,;:!?]", re.IGNORECASE)),
    ("EMAIL", re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+")),
    ("IBAN", re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")),
    (
        "DATE",
        re.compile(
            r"\b\d{4}-\d{1,2}-\d{1,2}\b|\b\d{1,2}[./-]\d{1,2}[./-](?:\d{4}|\d{2})\b"
            rf"|\b\d{{1,2}}(?:st|nd|rd|th)? {_MONTH},? \d{{4}}\b|\b{_MONTH} \d{{1,2}}(?:st|nd|rd|th)?,? \d{{4}}\b",
            re.IGNORECASE,
        ),
    ),
    ("NUMBER", re.compile(r"\b\d{3}-\d{2}-\d{4}\b|\b(?:\d{4}[ -]){3}\d{1,7}\b")),
    ("PHONE", re.compile(r"(?<![\w.,])(?:\+\d{1,3}[ -]?)?(?:\(\d{1,5}\)[ -]?)?\d{2,5}(?:[ /-]\d{2,8}){1,4}(?!\w)")),
    ("NUMBER", re.compile(r"(?<!\w)\+?[A-Z]{0,4}-?\d{6,}\b")),
)
"""Kind of an identifier → what it looks like, the first before the others."""

_FEWEST_DIGITS = 7  # of a telephone number


def pseudonymise(texts: Sequence[str], owners: Sequence[str] | None = None) -> tuple[list[str], Counter[str]]:
    """Replaces e-mail and web addresses, IBANs, dates, telephone and long numbers by placeholders, as ``[EMAIL-1]``.

    This is no anonymisation and no substitute for ε: names, places, rare diagnoses and whatever has another form stay.

    Formal guarantees: what a text becomes depends on its own owner's texts alone, as placeholders are numbered anew for
    each owner, in the order in which they come: numbers of all owners together would change with one who leaves. The
    same value is the same placeholder in all texts of an owner. Which value a placeholder stands for is kept nowhere.

    Args:
      texts: to be replaced in.
      owners: one a text; None: each text is its own.

    Returns:
      The texts, and how many were replaced by kind; the counts are of the rows, and NOT private.

    Example:
      >>> pseudonymise(["Call 030 1234567, ann@x.org.", "ann@x.org and bob@x.org", "bob@x.org"], ["a", "a", "b"])[0]
      ['Call [PHONE-1], [EMAIL-1].', '[EMAIL-1] and [EMAIL-2]', '[EMAIL-1]']
    """
    known: dict[str, dict[str, dict[str, str]]] = {}
    counts: Counter[str] = Counter()
    replaced = []
    for row, text in enumerate(texts):
        of_owner = known.setdefault(owners[row] if owners is not None else str(row), {})
        for kind, pattern in PATTERNS:
            names = of_owner.setdefault(kind, {})

            def placeholder(found: re.Match[str], kind: str = kind, names: dict[str, str] = names) -> str:
                value = found[0]
                if kind == "PHONE" and sum(map(str.isdigit, value)) < _FEWEST_DIGITS:
                    return value
                counts[kind] += 1
                plain = re.sub(r"[\s()/-]", "", value).lower()
                return names.setdefault(plain, f"[{kind}-{len(names) + 1}]")

            text = pattern.sub(placeholder, text)
        replaced.append(text)
    return replaced, counts
