"""What a sweep tells of itself while it runs, for ``dpjax status`` and ``dpjax report --watch``, in one small file."""

import datetime
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dpjax.keeping import this_process
from dpjax.report.sweep_state import PROGRESS_FILE as PLAN
from dpjax.results import write_atomically


def tell_plan(folder: Path, jobs: Sequence[Sequence[str]] | None, number: int | None = None) -> None:
    """Write which jobs a sweep has, when it began, and whose process works on it.

    Args:
      folder: the sweep's.
      jobs: the overrides of each; None of a search, which has not drawn them.
      number: how many there are; None: as many as are listed.

    Raises:
      OSError, ResultsError: the disk is full or can't be written.
    """
    plan = {
        "format": "dpjax-progress",
        "version": 1,
        "planned": len(jobs or ()) if number is None else number,
        "started": _now(),
    }
    plan["process"] = this_process()
    if jobs is not None:
        plan["jobs"] = [" ".join(job) for job in jobs]
    _write(folder, plan)


def telling(folder: Path) -> Callable[[float], None]:
    """What adds the seconds that are left to the plan that this process has written; without one it does nothing.

    Args:
      folder: the sweep's.
    """

    def tell(seconds: float) -> None:
        try:
            plan = json.loads((folder / PLAN).read_text(encoding="utf-8"))
            if plan.get("process") == this_process():  # a search has none, and may find that of an earlier sweep
                _write(folder, plan | {"left": {"seconds": seconds, "at": _now()}})
        except (OSError, ValueError, AttributeError):  # nobody need know it; a full disk is named by what needs it
            return

    return tell


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _write(folder: Path, plan: dict[str, Any]) -> None:
    write_atomically(folder / PLAN, json.dumps(plan, indent=1).encode())
