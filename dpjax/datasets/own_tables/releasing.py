"""Ranges and categories of columns from noisy counts of units, in place of what the rows would tell for nothing."""

import hashlib
import math
from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

from dpjax.checks import as_listed
from dpjax.datasets.entries import Released
from dpjax.datasets.own_tables.kinds import READ, Column
from dpjax.datasets.own_tables.plans import Said, listed, told_range
from dpjax.datasets.own_tables.source import TableSource
from dpjax.fetching.sources import DatasetError

NAMES_DELTA = 1e-10
"""The chance that any category is released which only one unit has; it is taken off δ."""

_EXPONENTS = 60  # magnitudes from 2^-60 to 2^60 are told apart; smaller ones are zero, larger ones the largest
_BINS = 16  # of the second look, between the ends of the first
_SURE = 5.5  # standard deviations of its noise that a count must have to be of anybody: 2e-8 of empty ones do
_LIKELY = 1.5  # the same of a count beside one of somebody; who is wrong about it makes a range too wide
_TAILS = 0.01  # of the units, cut off on both sides of a range


class Columns(NamedTuple):
    """Rows that count: the first training row of each unit.

    Attributes:
      rows: their indices.
      stddev: of the noise on each count of a column.
      seed: of that noise.
      name_delta: chance, for a column, that it releases a category of one unit alone.
    """

    rows: Int64[np.ndarray, "units"]
    stddev: float
    seed: int
    name_delta: float


def refuse_no_release(source: TableSource, said: Mapping[str, Said], names: Collection[str]) -> None:
    """Refuse what is to be released and can't be, before rows are looked at.

    Args:
      source: names the columns.
      said: of columns in the config.
      names: of the columns that there are.

    Raises:
      DatasetError: a column that is not there, is public already, or of a kind that is not said.
    """
    for name in source.release:
        where = f"data.release names {name!r}"
        if source.release.count(name) > 1:
            raise DatasetError(f"{where} twice; keep one")
        if name == source.label:
            if source.target != "number":
                raise DatasetError(f"{where}, whose classes are to be public: say them with data.classes")
            if source.target_range:
                raise DatasetError(f"{where}, whose range data.target_range says; leave it out of one of them")
            continue
        if name not in names:
            raise DatasetError(f"{where}, which is no column; there are {listed(list(names))}")
        if name in (source.unit, source.split_column):
            raise DatasetError(f"{where}, which is no input; leave it out")
        known = said.get(name, Said())
        if known.skip or known.range or known.values:
            words = "is skipped" if known.skip else "is public"
            raise DatasetError(f"{where}, which {words} by data.columns.{name}; leave it out of one of them")
        if known.kind not in READ:
            raise DatasetError(f"{where}, whose kind must be public: say data.columns.{name}=number, category or date")
        if known.kind == "date" and not known.form:  # or one row would decide how all are read
            raise DatasetError(
                f"{where}, of which it must be public how dates are written: say data.columns.{name}="
                "{kind: date, form: '%Y-%m-%d'}"
            )


def counted(
    source: TableSource, train: Bool[np.ndarray, "rows"], owner: Int64[np.ndarray, "rows"] | None
) -> Columns | None:
    """Which rows count, and with how much noise; None where nothing is released.

    Formal guarantees: one row of each unit counts, which depends on the unit's own rows alone. In all columns together
    a unit moves the counts of each look by at most √columns in ℓ2, and two looks of √2 times the noise are one of the
    noise that is asked for; so the whole is one Gaussian mechanism of ``source.release_noise_multiplier``.

    Args:
      source: what is released.
      train: ``[rows]`` which of them train.
      owner: ``[rows]`` whose they are; None: each row is a unit.
    """
    if not source.release:
        return None
    rows = np.flatnonzero(train)
    if owner is not None:
        rows = rows[np.sort(np.unique(owner[rows], return_index=True)[1])]
    stddev = source.release_noise_multiplier * math.sqrt(len(source.release))
    return Columns(rows, stddev, source.release_seed, NAMES_DELTA / len(source.release))


def release_column(column: Column, said: Said, units: Columns) -> Said:
    """What a config would say of a column, from noisy counts.

    Formal guarantees: each unit is in one count of each look: of its value's bin, or of the missing ones. Bins of
    numbers and dates are the same whoever is in the data; a category is released if a row that counts has it and its
    noisy count is above what one unit alone exceeds with chance ``units.name_delta``. How many lie beyond a range
    is told by these counts alone, which costs nothing.

    Args:
      column: of all rows.
      said: of it: its kind, and whether what is missing is an input.
      units: which rows count.

    Returns:
      ``said`` with a range or values, and whether values are missing.

    Raises:
      DatasetError: no count stands out of the noise.

    Example:
      >>> age = Column("age", "number", np.arange(4000) % 80, tuple(map(str, range(80))), np.arange(80.0))
      >>> said = release_column(age, Said("number"), Columns(np.arange(4000), 10.0, 0, 1e-10))
      >>> said.range, said.missing
      ((1.0, 80.375), False)
    """
    noise = np.random.default_rng([units.seed, *hashlib.sha256(column.name.encode()).digest()])
    counts = first_look(column, units.rows)
    if column.kind == "category":
        stddev, least = units.stddev, threshold(units.stddev, units.name_delta)
        noisy = counts + noise.normal(0, stddev, len(counts))
        # A name that no counting row has, as of an owner's other rows, is nobody's: however many one owner has of them,
        # noise alone must release none.
        there = zip(column.values, counts[:-1], noisy[:-1], strict=True)
        values = tuple(sorted(value for value, count, seen in there if count > 0 and seen > least))
        if not values:
            raise DatasetError(_too_few(column, f"no value of it is of the {least:,.0f} units that it takes"))
        said = said._replace(values=values)
    else:
        stddev = units.stddev * math.sqrt(2)
        noisy = counts + noise.normal(0, stddev, len(counts))
        first, last = _outer(column, noisy[:-1], stddev)
        edges = _edges(first, last)
        second = second_look(column, units.rows, edges)
        seen = second + noise.normal(0, stddev, len(second))
        ends = _inner_bins(seen, stddev)
        beyond = _beyond((noisy[:first], noisy[last + 1 : -1]), seen, ends, stddev)
        said = said._replace(range=(float(edges[ends[0]]), float(edges[ends[1]])), beyond=beyond)
    return said if said.missing is not None else said._replace(missing=bool(noisy[-1] > _SURE * stddev))


def first_look(column: Column, rows: Int64[np.ndarray, "units"]) -> Int64[np.ndarray, "bins"]:
    """How many units have each value of a category, or each magnitude of a number; the last have none.

    Formal guarantees: each unit is in one count.

    Args:
      column: of all rows.
      rows: one of each unit.

    Example:
      >>> first_look(Column("sex", "category", np.array([0, 1, 0, -1]), ("f", "m")), np.array([0, 1, 3])).tolist()
      [1, 1, 1]
    """
    if column.kind == "category":
        bins, number = column.codes[rows], len(column.values)
    else:
        bins, number = magnitudes(column.floats()[rows]), _NUM_MAGNITUDES
    return np.bincount(np.where(bins < 0, number, bins), minlength=number + 1)


def second_look(
    column: Column, rows: Int64[np.ndarray, "units"], edges: Float64[np.ndarray, "edges"]
) -> Int64[np.ndarray, "bins"]:
    """How many units have a number between two edges each; what lies beyond counts at the ends, and missing nowhere.

    Args:
      column: of all rows.
      rows: one of each unit.
      edges: public, or released.

    Example:
      >>> age = Column("age", "number", np.array([0, 1, -1]), ("30", "150"), np.array([30.0, 150.0]))
      >>> second_look(age, np.arange(3), np.array([0.0, 60.0, 120.0])).tolist()
      [1, 1]
    """
    numbers = column.floats()[rows]
    return np.histogram(np.clip(numbers[~np.isnan(numbers)], edges[0], edges[-1]), edges)[0]


def threshold(stddev: float, chance: float) -> float:
    """The noisy count that one unit alone exceeds with that chance.

    Args:
      stddev: of the noise.
      chance: of a name that only it holds.

    Example:
      >>> round(threshold(10.0, 1e-10), 1)
      64.6
    """
    from scipy.special import ndtri

    return 1 - stddev * float(ndtri(chance))


def magnitudes(numbers: np.ndarray) -> Int64[np.ndarray, "rows"]:
    """The bin of each number: its sign and its power of two, in rising order; -1 of what is missing.

    Args:
      numbers: NaN where missing.

    Example:
      >>> (magnitudes(np.array([-3.0, 0.0, 1.0, 1.5, 2.0, np.nan])) - _ZERO).tolist()
      [-62, 0, 61, 61, 62, -122]
    """
    exponents = np.frexp(np.abs(np.nan_to_num(numbers)))[1] - 1  # 2^e <= |x| < 2^(e + 1)
    steps = np.clip(exponents, -_EXPONENTS, _EXPONENTS) + _EXPONENTS + 1
    steps = np.where(np.abs(numbers) < 2.0**-_EXPONENTS, 0, steps)
    return np.where(np.isnan(numbers), -1, _ZERO + np.sign(np.nan_to_num(numbers)).astype(int) * steps)


_ZERO = 2 * _EXPONENTS + 1
_NUM_MAGNITUDES = 2 * _ZERO + 1


def _ends_of(bin_: int) -> tuple[float, float]:
    steps = bin_ - _ZERO
    if not steps:
        return 0.0, 0.0
    low = 2.0 ** (abs(steps) - 1 - _EXPONENTS)
    return (low, 2 * low) if steps > 0 else (-2 * low, -low)


def _outer(column: Column, noisy: Float64[np.ndarray, "bins"], stddev: float) -> tuple[int, int]:
    """The bins of the least and the largest magnitude that somebody has, between which the second look looks."""
    found = np.flatnonzero(noisy > _SURE * stddev)
    if not len(found):
        raise DatasetError(
            _too_few(column, f"no power of two is the size of {_SURE * stddev:,.0f} units' values, which it takes")
        )
    first, last = int(found[0]), int(found[-1])
    while first > 0 and noisy[first - 1] > _LIKELY * stddev:
        first -= 1
    while last < len(noisy) - 1 and noisy[last + 1] > _LIKELY * stddev:
        last += 1
    return first, last


def _edges(first: int, last: int) -> Float64[np.ndarray, "edges"]:
    low, high = _ends_of(first)[0], _ends_of(last)[1]
    return np.linspace(*((low, high) if low < high else (-1.0, 1.0)), _BINS + 1)  # or zeros alone


def _inner_bins(noisy: Float64[np.ndarray, "bins"], stddev: float) -> tuple[int, int]:
    first, last = _inner(noisy, stddev), _BINS - _inner(noisy[::-1], stddev)
    return (first, last) if first < last else (0, _BINS)


def _beyond(
    outside: tuple[np.ndarray, np.ndarray], noisy: Float64[np.ndarray, "bins"], ends: tuple[int, int], stddev: float
) -> tuple[float, float]:
    """Between which shares of the units lie beyond a range: what the noisy counts tell, with twice their deviation.

    The rows are not looked at again. The second look has whoever lies beyond its edges in its own first or last bin:
    where the range begins or ends at an edge, the first look tells of them.
    """
    first, last = ends
    tails = (noisy[:first] if first else outside[0], noisy[last:] if last < _BINS else outside[1])
    units = sum(float(tail.sum()) for tail in tails)
    spread = 2 * stddev * math.sqrt(sum(map(len, tails)))
    total = max(float(noisy.sum()), 1.0)
    low, high = (min(max(each / total, 0.0), 1.0) for each in (units - spread, units + spread))
    return low, high


def _inner(counts: np.ndarray, stddev: float) -> int:
    """How many bins from the left hold next to nobody: what they hold together is a tail, or noise."""
    sums, seen = np.cumsum(counts), np.arange(1, len(counts) + 1)
    enough = sums > np.maximum(_TAILS * counts.sum(), _LIKELY * stddev * np.sqrt(seen))
    return int(np.argmax(enough)) if enough.any() else 0


def released(source: TableSource, found: Mapping[str, Said]) -> Released | None:
    """What was released, for the account and for people to look at; None if nothing was.

    Args:
      source: asked for it.
      found: column → what came out.
    """
    if not source.release:
        return None
    ranges = [f"{as_listed(name)} {_shown(said)}" for name, said in found.items() if said.range]
    stddev = source.release_noise_multiplier * math.sqrt(len(source.release))
    least = f"(of some {threshold(stddev, NAMES_DELTA / len(source.release)):,.0f} units or more)"
    values = [f"{as_listed(name)} {listed(said.values)} {least}" for name, said in found.items() if said.values]
    words = [f"{what} of {', '.join(each)}" for what, each in (("range", ranges), ("values", values)) if each]
    return Released(" and ".join(words), source.release_noise_multiplier, NAMES_DELTA if values else 0.0)


_TELLING = 0.1
"""Width of a share above which its lower end reads like a statement, and is none."""


def _shown(said: Said) -> str:
    low, high = said.range or (0.0, 0.0)
    least, most = said.beyond or (0.0, 1.0)
    share = f"{math.floor(100 * least)} to {math.ceil(100 * most)} % of units beyond"
    if most - least > _TELLING:
        share = f"at most {math.ceil(100 * most)} % of units beyond: counts this noisy tell no more"
    if said.kind == "date":
        low, high = (np.datetime64(int(end), "D") for end in (low, high))
        return f"{low} to {high} ({share})"
    return f"{told_range(low, high)} ({share})"


def _too_few(column: Column, why: str) -> str:
    return (
        f"data.release: {column.name} drowns in the noise: {why}; say it in data.columns, release fewer columns, or "
        "lower data.release_noise_multiplier, which costs more of ε"
    )
