"""What else rows differ in, named as algorithms are, so that one chart sets it side by side. No matplotlib in here."""

import math
from typing import Any

import pandas as pd

from dpjax.results.summarize import is_federated


def noises_as_algorithms(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with kinds of noise named as algorithms are, where a sweep has several: they protect other people.

    Args:
      frame: what ``collect`` or ``load`` gave.

    >>> from dpjax.results.table import frame_of
    >>> rows = [{"epsilon": 1.0, "noise": noise} for noise in ("gaussian", "correlated(tree)")]
    >>> noises_as_algorithms(frame_of([*rows, {"epsilon": float("inf")}]))["algorithm"].tolist()
    ['gaussian', 'correlated(tree)', 'non-private']
    """
    frame = frame.copy()
    federated: Any = is_federated(frame)
    for part in (federated, ~federated):
        rows: Any = frame[part]
        private = rows["epsilon"] < math.inf
        if rows[private]["noise"].nunique() < 2:
            continue
        one = rows["algorithm"].nunique() < 2
        algorithm = "" if one else rows["algorithm"] + ", "
        frame.loc[rows.index, "algorithm"] = (algorithm + rows["noise"].fillna("gaussian")).where(
            private, "non-private" if one else rows["algorithm"]
        )
    return frame


def tunings_as_algorithms(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with what was trained named as algorithms are, where a sweep tunes a model in several ways.

    Args:
      frame: what ``collect`` or ``load`` gave.

    >>> from dpjax.results.table import frame_of
    >>> rows = [{"epsilon": 1.0, "tuning": tuning} for tuning in ("head", "lora(8)")]
    >>> tunings_as_algorithms(frame_of(rows))["algorithm"].tolist()
    ['head', 'lora(8)']
    """
    if len(set(frame["tuning"].dropna())) < 2:
        return frame
    named = frame["algorithm"].where(frame["algorithm"].isna(), frame["algorithm"] + ", ").fillna("")
    return frame.assign(algorithm=(named + frame["tuning"]).where(frame["tuning"].notna(), frame["algorithm"]))


def bounds_as_algorithms(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with users' rows, drawn one by one, named as an algorithm is: the other way to protect a user.

    Args:
      frame: what ``collect`` or ``load`` gave.

    >>> from dpjax.results.table import frame_of
    >>> rows = [{"epsilon": 1.0, "algorithm": "fedsgd"}, {"epsilon": 1.0, "records_per_unit": 4}]
    >>> bounds_as_algorithms(frame_of(rows))["algorithm"].tolist()
    ['fedsgd', '4 rows kept']
    """
    most: Any = frame["records_per_unit"]
    named = most.map(lambda rows: "1 row kept" if rows == 1 else f"{rows:.0f} rows kept", na_action="ignore")
    return frame.assign(algorithm=frame["algorithm"].where(most.isna(), named))


def named_as_algorithms(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with users' bounds, kinds of noise and tunings named as algorithms are, where it has several.

    Args:
      frame: what ``collect`` or ``load`` gave.

    >>> from dpjax.results.table import frame_of
    >>> named_as_algorithms(frame_of([{"epsilon": 1.0, "algorithm": "fedavg"}]))["algorithm"].tolist()
    ['fedavg']
    """
    return tunings_as_algorithms(bounds_as_algorithms(noises_as_algorithms(frame)))
