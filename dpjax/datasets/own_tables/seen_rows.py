"""What is known of a table's rows once each was seen, some at a time: those that test, and counts of all others."""

import re
from typing import Any

import numpy as np

from dpjax.datasets.own_tables.batches import Reader, Rows
from dpjax.datasets.own_tables.kinds import Column
from dpjax.datasets.own_tables.numbers import plan_target
from dpjax.datasets.own_tables.plans import refuse_strangers
from dpjax.datasets.own_tables.sides import odd_classes
from dpjax.datasets.own_tables.testing import refuse_empty_side
from dpjax.fetching.sources import DatasetError

MOST_HELD = 200_000
"""Rows that are held in memory to be evaluated: of those that test, and of those that train."""


class Seen:
    """What is known of all rows once each was seen: the rows that test, and the counts of the others."""

    def __init__(self, reader: Reader):
        self.reader = reader
        self.inputs: list[np.ndarray] = []
        self.labels: list[np.ndarray] = []
        self.how = ""
        self._rows = self._lost = self._first_lost = self._beyond = self._tested = 0
        classes = max(len(reader.source.classes), 1)
        self._trained, self._untrained = np.zeros(classes, np.int64), np.zeros(classes, np.int64)
        self._ends: list[float] = []
        self._met: dict[str, Column] = {}

    def add(self, rows: Rows, read: int, start: int) -> None:
        """Note rows of a batch.

        Args:
          rows: with a label.
          read: how many the batch had.
          start: rows before them.

        Raises:
          DatasetError: more rows test than may be held.
        """
        tests = rows.tests
        if len(rows.numbers) < read and not self._lost:
            self._first_lost = int(np.setdiff1d(np.arange(start + 1, start + read + 1), rows.numbers)[0])
        self._lost, self._rows = self._lost + read - len(rows.numbers), self._rows + len(rows.numbers)
        self.how, self._tested = rows.how, self._tested + int(tests.sum())
        if self._tested > MOST_HELD:
            raise DatasetError(
                f"{self.reader.where} more than {MOST_HELD:,} rows test ({rows.how}), and those are held in memory; "
                "let fewer test with data.split=column, whose data.split_column says train or test, or with "
                "data.split=time and a later data.split_at"
            )
        self.inputs.append(rows.inputs[tests])
        self.labels.append(rows.labels[tests])
        if rows.given is None:
            self._trained += np.bincount(rows.labels[~tests], minlength=len(self._trained))
            self._untrained += np.bincount(rows.labels[tests], minlength=len(self._trained))
        elif len(given := rows.given[~tests]):
            target = self.reader.target
            assert target is not None
            self._ends = [min([*self._ends, given.min()]), max([*self._ends, given.max()])]
            self._beyond += int(((given < target.low) | (given > target.high)).sum())
        for column in rows.columns:
            self._meet(column)

    def _meet(self, column: Column) -> None:
        """Keep of a column what says whether its values are those that are named: a few, or the ends."""
        said, known = self.reader.said[column.name], self._met.get(column.name)
        if said.values:
            met = [
                *(() if known is None else known.values),
                *column.values[:1],
                *(set(said.values) & set(column.values)),
            ]
            self._met[column.name] = column._replace(values=tuple(dict.fromkeys(met)), codes=column.codes[:0])
            return
        numbers = column.floats()
        numbers = numbers[~np.isnan(numbers)]
        ends = [] if known is None else list(known.numbers if known.numbers is not None else ())
        if len(numbers):
            ends = [min([*ends, numbers.min()]), max([*ends, numbers.max()])]
        shown = tuple(f"{end:g}" for end in ends)
        self._met[column.name] = Column(column.name, column.kind, column.codes[:0], shown, np.array(ends))

    def about(self) -> dict[str, Any]:
        """What is known, as JSON has it.

        Raises:
          DatasetError: nothing to learn from or to test on, or what is said of a column is of another.
        """
        source, where, classes = self.reader.source, self.reader.where, self.reader.source.classes
        if not self._rows:
            raise DatasetError(f"{where} column {source.label!r} has no label in any row; name another column")
        refuse_empty_side(self._tested, self._rows, self.how, where)
        for column in self._met.values():
            refuse_strangers(column, self.reader.said[column.name])
        remarks = []
        if self._lost:
            remarks.append(
                f"{self._lost:,} rows without label ({source.label}) left out, the first of them row {self._first_lost}"
            )
        if self.reader.target is not None:
            ends = Column(source.label, "number", np.arange(2), ("", ""), np.array(self._ends))
            _, _, odd = plan_target(ends, np.zeros(2, bool), source.target_range, where)
            counts = f"{self._beyond:,} of {self._rows - self._tested:,} training rows"
            remarks += [re.sub(r"^\d of 2 training rows", counts, each) for each in odd]
        else:
            trained, tested = (
                {name for name, count in zip(classes, counts, strict=True) if count}
                for counts in (self._trained, self._untrained)
            )
            remarks += odd_classes(trained, tested, classes, where)
        counts = [] if self.reader.target is not None else self._trained.tolist()
        number = self._rows - self._tested
        return {"number": number, "counts": counts, "how": self.how, "remarks": "; ".join(remarks)}
