"""Where a table of one's own lies, and what its columns are for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Split = Literal["owner", "rows", "time", "column", "files"]
Predicted = Literal["class", "number"]


@dataclass(frozen=True)
class TableSource:
    """Where a table lies and what its columns are for.

    Attributes:
      path: of a file, or of a folder with a file per split.
      label: column that is predicted; of images without a table empty: their folders are their classes.
      unit: column that says whose a row is; empty: rows stand alone.
      split: who is tested: ``owner`` (whole owners), ``rows`` (some rows of everybody), ``time`` (the last rows by
        ``split_column``), ``column`` (rows whose ``split_column`` says test), ``files`` (train and test are files);
        None: files where there are two, else owner, or rows where owners are few or none.
      split_column: of dates or numbers for ``time``, of the words train and test for ``column``; it is no input.
      columns: what is said of columns, see ``plans.read_said``.
      missing: what stands for a missing value besides the usual words.
      classes: names of the classes, in their order; empty: those that are found.
      target: what the label is: a ``class`` or a ``number``.
      target_range: of a number: least and largest label, in its own unit; what lies beyond is cut off in training rows.
        Empty: that of the training rows, which is learnt.
      split_at: of ``time``: the first date or number that tests; empty: where the last fifth begins, which is read off
        the rows.
      release: columns whose range or values, where they are not said, are computed from noisy counts of units.
      release_noise_multiplier: of those counts: noise standard deviation / the most that a unit moves them all.
      release_seed: of that noise.
      release_by_owner: whether a unit is an owner; else it is a row.
      decimal: "." or ",", what stands before the decimals of numbers.
      encoding: of the characters; None: UTF-8, or UTF-16 where the file begins with its mark.
    """

    path: str
    label: str = ""
    unit: str = ""
    split: Split | None = None
    split_column: str = ""
    columns: Mapping[str, Any] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    target: Predicted = "class"
    target_range: tuple[float, ...] = ()
    encoding: str | None = None
    decimal: str = "."
    split_at: str = ""
    release: tuple[str, ...] = ()
    release_noise_multiplier: float = 10.0
    release_seed: int = 0
    release_by_owner: bool = False
