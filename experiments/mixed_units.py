"""Whether a sweep's folder has results of before that protect somebody else than those of now."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus

Units = frozenset[str]
"""What ε was for in the private rows: ``user``, ``client``, …."""


def units_of(returns: Sequence[JobReturn]) -> Units:
    """What ε is for in the rows of jobs.

    Args:
      returns: what came back, one per job.
    """
    rows = (row for done in returns if done.status == JobStatus.COMPLETED for row in done.return_value or ())
    return frozenset(str(row["unit"]) for row in rows if row.get("unit"))


def mixed_units(folder: Path, all_units: Iterable[Any], now: Units) -> str | None:
    """What is to be said where a folder has rows of another unit than the sweep that ended; None where it has none.

    Within one sweep several units may be meant; that a later command with another one goes into the same folder is
    rarely so.

    Args:
      folder: of the sweep.
      all_units: ``unit`` of each of the folder's rows.
      now: of the rows of the sweep that ended.

    Example:
      >>> mixed_units(Path("results/patients"), ["user", "client"], frozenset({"client"}))
      'results/patients has rows per user of an earlier command beside those per client; name=NAME keeps a sweep apart'
      >>> mixed_units(Path("results/patients"), ["user", "client"], frozenset({"client", "user"}))
    """
    before = sorted({each for each in all_units if isinstance(each, str) and each} - now)
    if not now or not before:
        return None
    return (
        f"{folder} has rows per {' and per '.join(before)} of an earlier command beside those per "
        f"{' and per '.join(sorted(now))}; name=NAME keeps a sweep apart"
    )
