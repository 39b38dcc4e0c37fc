"""Which rows of one's own test: by what the row or its owner is, so that nobody changes sides for another."""

import hashlib
from collections.abc import Sequence
from typing import get_args

import numpy as np
from jaxtyping import Bool

from dpjax.datasets.own_tables.kinds import Column, days_of
from dpjax.datasets.own_tables.source import Split, TableSource
from dpjax.datasets.splits import SPLIT_SEED, TEST_FRACTION
from dpjax.fetching.sources import DatasetError

TRAINS, TESTS = ("train", "training"), ("test", "testing", "validation", "valid", "val", "dev")


def choose_tests(
    source: TableSource,
    owner: Column | None,
    when: Column | None,
    of_file: Bool[np.ndarray, "rows"] | None,
    contents: Sequence[bytes],
    where: str,
) -> tuple[Bool[np.ndarray, "rows"], str, str]:
    """Which rows test.

    Formal guarantees: which side a row is on depends on itself, its owner's name or its file alone, but for a split by
    time without ``split_at``: there it depends on the dates of all, and what is learnt says so.

    Args:
      source: says how to split.
      owner: of the rows; None: they stand alone.
      when: what the split goes by; None: nothing.
      of_file: which of the rows are in a file of test rows; None: there is none.
      contents: ``[rows]`` all that a row holds.
      where: names the rows in messages.

    Returns:
      ``[rows]``; how they were chosen, in words; what of that was read off the rows, in words.

    Raises:
      DatasetError: a split that does not go with what is said, or that leaves nobody on one side.
    """
    tests, how, learnt = sides_of(source, owner, when, of_file, contents, where)
    refuse_empty_side(int(tests.sum()), len(tests), how, where)
    return tests, how, learnt


def refuse_empty_side(tests: int, rows: int, how: str, where: str) -> None:
    """Refuses a split that leaves nobody on one side.

    Args:
      tests: how many rows test.
      rows: how many there are.
      how: they were chosen, in words.
      where: names the rows in messages.

    Raises:
      DatasetError: none, or all of them.
    """
    if not 0 < tests < rows:
        side = "train" if tests else "test"
        raise DatasetError(f"{where} no row is left to {side} on ({how}); choose another data.split, or add rows")


def sides_of(
    source: TableSource,
    owner: Column | None,
    when: Column | None,
    of_file: Bool[np.ndarray, "rows"] | None,
    contents: Sequence[bytes],
    where: str,
) -> tuple[Bool[np.ndarray, "rows"], str, str]:
    """What ``choose_tests`` says, of a part of the rows too, which may be all on one side.

    Args:
      source, owner, when, of_file, contents, where: see ``choose_tests``.

    Raises:
      DatasetError: a split that does not go with what is said.
    """
    split = source.split
    if split is not None and split not in get_args(Split):
        raise DatasetError(f"{where} data.split={split!r} must be one of {', '.join(get_args(Split))}")
    if split is None and of_file is not None:
        split = "files"
    if split is None and when is not None:
        split = "time" if when.kind in ("date", "number") or source.split_at else "column"
    if split is None:
        split = "rows" if owner is None else "owner"
    if split in ("time", "column") and when is None:
        raise DatasetError(f"{where} data.split={split} needs a column to go by; say data.split_column=COLUMN")
    if split in ("owner", "rows", "files") and when is not None:
        raise DatasetError(f"{where} data.split_column is of data.split=time or column; leave it out for {split}")
    if source.split_at and split != "time":
        raise DatasetError(f"{where} data.split_at is of data.split=time; leave it out for {split}")
    if split == "files" and of_file is None:
        raise DatasetError(f"{where} data.split=files needs a file train and a file test in a folder; there is one")
    learnt = ""
    if split == "owner":
        if owner is None:
            raise DatasetError(f"{where} data.split=owner needs to know whose rows are; say data.unit=COLUMN")
        chosen = np.array([_share(value.encode()) < TEST_FRACTION for value in owner.values])
        tests, how = chosen[owner.codes], f"owners ({owner.name}) 80/20 by a hash of their names"
    elif split == "files":
        tests, how = np.asarray(of_file), "train and test as the files have them"
    elif split == "time":
        assert when is not None
        tests, how, learnt = _late(source, when, where)
    elif split == "column":
        assert when is not None
        tests, how = _as_said(when, where), f"as {when.name} says"
    else:
        tests = np.array([_share(content) < TEST_FRACTION for content in contents])
        how = "rows 80/20 by a hash of what they hold"
    return tests, how, learnt


def _late(source: TableSource, when: Column, where: str) -> tuple[np.ndarray, str, str]:
    if when.kind not in ("date", "number") or when.num_missing:
        odd = f"is missing in {when.num_missing} rows" if when.num_missing else f"holds {when.kind}"
        raise DatasetError(f"{where} data.split_column={when.name!r} {odd}; a split by time needs a date in every row")
    if source.split_at:
        day = days_of(source.split_at) if when.kind == "date" else None
        try:
            cut = float(source.split_at) if when.kind == "number" else float(day)  # pyright: ignore[reportArgumentType]
        except (TypeError, ValueError) as error:
            form = "a date as 2024-01-31" if when.kind == "date" else "a number"
            raise DatasetError(
                f"{where} data.split_at={source.split_at!r} must be {form}, as {when.name} holds"
            ) from error
        return when.floats() >= cut, f"from {when.name}={source.split_at} on", ""
    ordered = np.sort(when.floats())
    cut = ordered[min(int(np.ceil((1 - TEST_FRACTION) * len(ordered))), len(ordered) - 1)]
    return when.floats() >= cut, f"the last fifth by {when.name}", f"where the last fifth by {when.name} begins"


def _as_said(when: Column, where: str) -> np.ndarray:
    sides = {value: value.lower() in TESTS for value in when.values}
    strange = next((value for value in when.values if value.lower() not in (*TRAINS, *TESTS)), None)
    if strange is not None or when.num_missing:
        what = "nothing in some rows" if strange is None else f"{strange!r}"
        raise DatasetError(
            f"{where} data.split_column={when.name!r} says {what}; it must say train or test in every row"
        )
    return np.array([sides[value] for value in when.values])[when.codes]


def _share(content: bytes) -> float:
    """A number in [0, 1) that depends on a name or a row alone."""
    return int.from_bytes(hashlib.sha256(f"{SPLIT_SEED}:".encode() + content).digest()[:8]) / 2**64
