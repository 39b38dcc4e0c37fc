"""What a paper's table is made of: cells, columns and blocks, each a text by then."""

import math
from typing import Any, NamedTuple

from dpjax.results.claims import small


class Cell(NamedTuple):
    """One cell.

    Attributes:
      text: what it says: a setting, or a mean in the digits that were asked for; a dash where there is none.
      spread: what stands after ±; empty if nothing does.
      bold: whether it is set off.
      crossed: whether one of its runs diverged.
      mean: the number behind ``text``; NaN of a setting.
      width: the number behind ``spread``.
    """

    text: str
    spread: str = ""
    bold: bool = False
    crossed: bool = False
    mean: float = math.nan
    width: float = math.nan


class Column(NamedTuple):
    """One column of a table.

    Attributes:
      header: its heading.
      cells: one per row.
      group: heading over this and its neighbours of the same; empty if there is none.
      is_metric: whether its cells are means.
    """

    header: str
    cells: list[Cell]
    group: str = ""
    is_metric: bool = False


class Block(NamedTuple):
    """One table: points of one family, which may be compared.

    Attributes:
      title: what all its cells share.
      notes: what they are and what they rest on, one sentence each; together with the title the caption.
      columns: from left to right.
      keys: heading → value of what tells this block from others, for a file that has them all.
    """

    title: str
    notes: list[str]
    columns: list[Column]
    keys: dict[str, str]


def written(mean: float, width: float, digits: int, **how: Any) -> Cell:
    """A mean and its spread, to so many digits after the point.

    Args:
      mean: any float; missing gives a dash.
      width: half of what ± spans; missing is left out.
      digits: after the point; numbers from 10⁶ on have three in all, and are written as ``results show`` does.
      how: other fields of the cell.

    Example:
      >>> written(0.9534, 0.0041, 3)[:2], written(0.9534, math.nan, 1)[:2], written(math.nan, 0.0, 3)[:2]
      (('0.953', '0.004'), ('1.0', ''), ('–', ''))
      >>> written(2e9, 1e9, 3)[:2], written(math.inf, math.nan, 3)[:2]
      (('2e9', '1e9'), ('∞', ''))
    """
    if math.isnan(mean):
        return Cell("–", **how)
    told, spread = ((small(float(f"{x:.3g}")) if abs(mean) >= 1e6 else f"{x:.{digits}f}") for x in (mean, width))
    return Cell(told, "" if math.isnan(width) else spread, mean=mean, width=width, **how)
