"""Results of several folders as one table."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

SWEEP = "sweep"
"""The column that says which folder a row is from, where there are several."""


def load_all(paths: Sequence[Path | str], *, curves: bool = True) -> "pd.DataFrame":
    """The rows of one results folder, or of several, told apart by their names.

    Formal guarantees: of several folders each row carries ``sweep``, the shortest end of its folder's path that no
    other has; what could not be read is named for all of them, in ``df.attrs["unreadable"]``.

    Args:
      paths: folders of sweeps, or ``results.parquet`` or ``results.json`` files; one given twice is read once.
      curves: as in ``load``.

    Returns:
      One row per (point, seed), in the schema's columns and dtypes.

    Raises:
      ResultsError: one of them has nothing to read.

    Example:
      >>> load_all(["/nowhere", "/neither"])
      Traceback (most recent call last):
          ...
      dpjax.results.errors.ResultsError: there is no /nowhere: give the folder of a sweep, such as results/quickstart
    """
    from dpjax.results.table import frame_of, load  # pandas: a second, which the names of folders need not

    folders = list({Path(path).resolve(): path for path in paths}.values())
    if len(folders) == 1:
        return load(folders[0], curves=curves)
    frames = [load(path, curves=curves) for path in folders]
    names = names_of(folders)
    rows = [
        {**row, SWEEP: name}
        for name, frame in zip(names, frames, strict=True)
        for row in frame.astype(object).where(frame.notna(), None).to_dict("records")
    ]
    whole = frame_of(rows)
    for said in ("unreadable", "refused"):
        whole.attrs[said] = [line for frame in frames for line in frame.attrs.get(said, [])]
    return whole


def names_of(paths: Sequence[Path | str]) -> list[str]:
    """What folders are called where they stand side by side: the shortest ends of their paths that tell them apart.

    Args:
      paths: of folders or files; a file is called as its folder is.

    Example:
      >>> names_of(["a/first", "b/second"]), names_of(["a/run", "b/run"])
      (['first', 'second'], ['a/run', 'b/run'])
    """
    resolved = [Path(path).resolve() for path in paths]
    parts = [(path.parent if path.suffix in (".parquet", ".json") else path).parts for path in resolved]
    if len(set(parts)) < len(parts):
        parts = [path.parts for path in resolved]
    names = []
    for own in parts:
        others = [other for other in parts if other != own]
        length = next((n for n in range(1, len(own)) if all(o[-n:] != own[-n:] for o in others)), len(own))
        names.append("/".join(own[-length:]))
    return names
