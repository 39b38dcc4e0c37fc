"""Two tables of results, cell by cell and to the bit."""

import struct
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

_TIMES = ["wall_seconds", "epoch_seconds", "tokens_per_second", "compile_seconds"]
_CIPHERS = ["encrypt_seconds", "add_seconds", "decrypt_seconds"]
_MACHINE_AND_CODE = ["peak_memory_mib", "device", "git_revision", "dpjax_version", "code", "timestamp"]
LEFT_OUT = frozenset([*_TIMES, *_CIPHERS, *_MACHINE_AND_CODE])
"""Columns that differ from run to run, or that name the code."""

PAIRED_BY = ("overrides", "seed", "epsilon")
"""What was asked for: equal in the two rows of a pair, and of one side in no two."""


class Compared(NamedTuple):
    """One line of the table.

    Attributes:
      what: the command's name.
      rows: how many were compared.
      columns: names of the columns that were, or of the fields.
      differences: one sentence each.
      told: what only one side has.
    """

    what: str
    rows: int
    columns: list[str]
    differences: list[str]
    told: list[str]


def same(old: Any, new: Any) -> bool:
    """Whether two cells are equal to the bit: 0.0 is not -0.0 nor 0, and one NaN is another."""
    if type(old) is not type(new):
        return False
    if isinstance(old, float):
        return struct.pack("d", old) == struct.pack("d", new) or (old != old and new != new)
    if isinstance(old, list):
        return len(old) == len(new) and all(map(same, old, new))
    return old == new


def flat(cell: Any, name: str) -> Iterable[tuple[str, Any]]:
    """The fields of a cell that holds a mapping, each under its path; another cell as it is."""
    if not isinstance(cell, Mapping):
        return [(name, cell)]
    return [pair for key, value in cell.items() for pair in flat(value, f"{name}.{key}")]


def compared_cells(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row without ``LEFT_OUT``, and where messages are ciphertexts without their size, which is random."""
    encrypted = {"uplink_bytes"} if row.get("aggregation") == "homomorphic" else set()
    return {name: cell for name, cell in row.items() if name not in LEFT_OUT | encrypted}


def compare(what: str, old: list[dict[str, Any]], new: list[dict[str, Any]]) -> Compared:
    """Rows of two sides, in pairs by what they were asked for, cell by cell."""
    sides = [{tuple(str(row.get(x)) for x in PAIRED_BY): row for row in rows} for rows in (old, new)]
    if [len(side) for side in sides] != [len(old), len(new)]:
        raise ValueError(f"{what}: two rows of one side agree in {', '.join(PAIRED_BY)}; add a column that differs.")
    pairs = sides[0].keys() & sides[1].keys()
    differences = [f"{side} only: {row}" for side, rows in zip(("old", "new"), sides, strict=True)
                   for row in rows.keys() - pairs]  # fmt: skip
    compared: set[str] = set()
    unequal: dict[str, list[str]] = {}
    told: set[str] = set()
    for pair in pairs:
        cells = [dict(flat(compared_cells(side[pair]), "")) for side in sides]
        both = cells[0].keys() & cells[1].keys()
        lacking = cells[0].keys() ^ both, cells[1].keys() ^ both
        told |= {
            f"{side} has {name[1:]}" for side, names in zip(("old", "new"), lacking, strict=True) for name in names
        }
        # The hash is of the whole config: of other fields it is another one.
        hashed = {".config_hash"} if any(name.startswith(".config.") for name in lacking[0] | lacking[1]) else set()
        for name in both - hashed:
            compared.add(name[1:])
            if not same(cells[0][name], cells[1][name]):
                unequal.setdefault(name[1:], []).append(f"{cells[0][name]!s:.40} → {cells[1][name]!s:.40}")
    differences += [f"{name}: {len(cells)} of {len(pairs)}, as {cells[0]}" for name, cells in sorted(unequal.items())]
    return Compared(what, len(pairs), sorted(compared), differences, sorted(told))
