"""Words that are numbers, moments, truth or nothing in some notation, in one: so that a table written anew is known."""

from __future__ import annotations

import datetime
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

LONGEST = 40
"""Characters of a word above which it is a text, in no notation."""

_NOTHING = frozenset(["", "na", "n/a", "#n/a", "<na>", "nan", "nat", "null", "none", "-", "--", "?", "."])
_TRUTH = {"yes": "1", "no": "0", "y": "1", "n": "0", "t": "1", "f": "0", "1": "1", "0": "0"}
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)(?:[ t](\d\d:\d\d(?::\d\d)?)(\.\d+)?(?:z|\+00:?00)?)?")
_YEAR_FIRST = re.compile(r"(\d{4})[/.](\d\d?)[/.](\d\d?)([ t].*)?")
_YEAR_LAST = re.compile(r"(\d\d?)([/.-])(\d\d?)\2(\d{4})([ t].*)?")
_PLAIN = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")
_NUMBER = re.compile(r"([+-]?) ?(\d[\d.,' ]*|[.,]\d+)(e[+-]?\d+)?")
_AFFIXED = re.compile(r"([$€£¥]?) ?([+-]? ?(?:\d[\d.,' ]*|[.,]\d+)(?:e[+-]?\d+)?) ?([^\d.,']*)")
_GROUPED = {mark: re.compile(rf"[1-9]\d{{0,2}}(?:{re.escape(mark)}\d{{3}})+") for mark in ",.' "}


def canonical(value: Any) -> str:
    """A word as it is compared: without case, spaces at its ends, and how a moment is written.

    Args:
      value: a word, or what has one.

    Example:
      >>> canonical(" Very  Ill "), canonical("2024-01-31T10:30:00.500Z"), canonical(True)
      ('very ill', '2024-01-31 10:30:00.5', '1')
    """
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    words = " ".join(unicodedata.normalize("NFKC", str(value)).casefold().split())
    return {"true": "1", "false": "0"}.get(words) or _moment(words) or words


def _moment(words: str) -> str | None:
    if not (moment := _MOMENT.fullmatch(words)):
        return None
    day, time, part = moment[1], moment[2] or "00:00", (moment[3] or "").rstrip("0").rstrip(".")
    time = time.removesuffix(":00") if len(time) > 5 and not part else time
    return day if time == "00:00" else f"{day} {time}{part}"


def in_one_notation(words: Sequence[str], comma: bool = False) -> list[str]:
    """The words of a column, each in the notation that Python has for what it says.

    What a word alone leaves open, as whether 01/02/2024 is in January, the others of its column say.

    Args:
      words: as ``canonical`` has them, each once.
      comma: whether a comma that may part thousands or decimals parts decimals, where no word of these tells.

    Returns:
      As many; of missing values "".

    Example:
      >>> in_one_notation(["17,99", "1.234,5", "+3", "n/a"])
      ['17.99', '1234.5', '3', '']
      >>> in_one_notation(["31/01/2024", "01/02/2024"]), in_one_notation(["yes", "no"])
      (['2024-01-31', '2024-02-01'], ['1', '0'])
      >>> in_one_notation(["72 kg", "80,5 kg"])
      ['72', '80.5']
    """
    words = ["" if word in _NOTHING else word for word in words]
    said = [word for word in words if word]
    if set(said) <= _TRUTH.keys():
        return [_TRUTH.get(word, "") for word in words]
    if not comma and all(map(_PLAIN.fullmatch, said)):
        return words
    if not any("0" <= mark <= "9" for word in said for mark in word):
        return words
    words = _without_units([word.replace("\u2212", "-").replace("\u2019", "'") for word in words])
    decisive = {_decisive(word) for word in words}
    if "," in decisive or "." in decisive:
        comma = "," in decisive and "." not in decisive
    day_first = _day_first(words)
    return [_day(word, day_first) or _number(word, comma) or word for word in words]


def has_decimal_commas(words: Iterable[str]) -> bool:
    """Whether a word has a comma that can part nothing but decimals, and none has such a point.

    Args:
      words: as ``canonical`` has them.

    Example:
      >>> has_decimal_commas(["1,234", "17,99"]), has_decimal_commas(["1,234", "17.99"])
      (True, False)
    """
    decisive = {_decisive(word) for word in words}
    return "," in decisive and "." not in decisive


def _without_units(words: list[str]) -> list[str]:
    """Numbers alone, where all have the same unit after them, or currency before; else the words."""
    parts = [_AFFIXED.fullmatch(word) if word else None for word in words]
    if any(part is None for word, part in zip(words, parts, strict=True) if word):
        return words
    affixes = {(part[1], part[3]) for part in parts if part}
    if len(affixes) > 1 or affixes == {("", "")}:
        return words
    return [part[2].strip() if part else "" for part in parts]


def _decisive(word: str) -> str:
    """Which mark of a number parts its decimals for sure; "": none does."""
    if not (found := _NUMBER.fullmatch(word)):
        return ""
    body = found[2]
    if "," in body and "." in body:
        last = max(body.rfind(","), body.rfind("."))
        return body[last] if body.count(body[last]) == 1 else ""
    for mark, other in (",.", ".,"):
        if body.count(mark) == 1 and not _GROUPED[mark].fullmatch(body):
            return mark
        if body.count(mark) > 1 and _GROUPED[mark].fullmatch(body):
            return other
    return ""


def _number(word: str, comma: bool) -> str | None:
    """A number as Python writes it; None: it is none."""
    if not (found := _NUMBER.fullmatch(word)):
        return None
    body = found[2].strip()
    decimal = _decisive(word) or ("," if comma else ".")
    whole, _, part = body.partition(decimal)
    if not whole.isdigit() and whole and not any(grouped.fullmatch(whole) for grouped in _GROUPED.values()):
        return None
    if part and not part.isdigit():
        return None
    digits = "".join(mark for mark in whole if mark.isdigit()) or "0"
    sign = "-" if found[1] == "-" else ""
    return sign + digits + (f".{part}" if part else "") + (found[3] or "")


def _day_first(words: list[str]) -> bool | None:
    """Whether days with slashes begin with the day; None: no word says, or two say otherwise."""
    found = [match for word in words if (match := _YEAR_LAST.fullmatch(word)) and match[2] != "."]
    first, second = any(int(match[1]) > 12 for match in found), any(int(match[3]) > 12 for match in found)
    return first if first != second else None


def _day(word: str, day_first: bool | None) -> str | None:
    """A day, or moment, in ISO 8601; None: it is none, or may be either of two."""
    if found := _YEAR_FIRST.fullmatch(word):
        year, month, day, rest = found.groups()
    elif found := _YEAR_LAST.fullmatch(word):
        first, mark, second, year, rest = found.groups()
        if mark != "." and day_first is None:
            return None
        month, day = (second, first) if mark == "." or day_first else (first, second)
    else:
        return None
    try:
        date = datetime.date(int(year), int(month), int(day))
    except ValueError:
        return None
    return _moment(f"{date}{rest or ''}")
