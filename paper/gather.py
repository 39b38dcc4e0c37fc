"""One table of everything that a profile ran: what the paper, the docs and the README are made of."""

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from dpjax.results import ResultsError, collect, load
from dpjax.results.open_copies import refuse_open_copy
from dpjax.results.table_files import arrow_table

FOLDER = Path(__file__).parent / "results"
_DROPPED = ("eval_test_accuracy", "eval_test_loss", "train_loss_curve", "python_version", "timestamp")
"""Columns that nothing here shows, left out to keep the file small."""


def gather(folder: Path) -> pd.DataFrame:
    """Every row below a profile's folder; the tuning round of the leaderboard has its own ``stage``.

    Args:
      folder: of the results of a profile.

    Raises:
      ResultsError: there is none, or one is sealed, and what is made of them is published.
    """
    refuse_open_copy([folder], "the paper's table", allowed=False, fix="run it without governance.seal")
    parts: list[Any] = []
    unreadable: list[str] = []
    for part in sorted(path for path in folder.glob("*") if path.is_dir()):
        stages = {"leaderboard": [("tuning", part / "tuning"), ("reported", part / "reported")]}
        for stage, place in stages.get(part.name, [("study", part)]):
            frame = collect(place)
            unreadable += frame.attrs["unreadable"]
            if len(frame):
                parts.append(frame.assign(stage=stage))
    if not parts:
        raise ResultsError(f"there are no results below {folder}: run `make paper` first")
    whole = pd.concat(parts, ignore_index=True)
    whole.attrs["unreadable"] = unreadable
    return whole


def write(frame: pd.DataFrame, profile: str) -> Path:
    """Writes a profile's table where git keeps it.

    Args:
      frame: of ``gather``.
      profile: its name.
    """
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{profile}.parquet"
    columns = frame.drop(columns=[name for name in _DROPPED if name in frame])
    pq.write_table(arrow_table(columns), path, compression="zstd", compression_level=19)
    return path


def read(profile: str) -> pd.DataFrame:
    """The table that ``write`` wrote.

    Args:
      profile: its name.

    Raises:
      ResultsError: nobody ran that profile.
    """
    path = FOLDER / f"{profile}.parquet"
    if not path.exists():
        raise ResultsError(f"there is no table of the profile {profile}: run `make paper PROFILE={profile}` first")
    return load(path)
