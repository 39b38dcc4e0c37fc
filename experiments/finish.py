"""How a run or a sweep ends: its table, its figures, its tracker, and the truth about what failed."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig
from rich.console import Console

from dpjax import results
from dpjax.results.sheet import sheets
from dpjax.results.show import to_rich
from dpjax.results.table import write_frame
from experiments.progress import one_sentence


def finish_sweep(
    folder: Path, cfg: DictConfig, num_jobs: int, returns: Sequence[JobReturn], *, interrupted: bool = False
) -> None:
    """Write and show the table, draw the figures, feed the tracker; name what failed and exit with status 1.

    Args:
      folder: the sweep's folder.
      cfg: its master config.
      num_jobs: how many jobs it has.
      returns: what came back; empty if it was interrupted.
      interrupted: whether the user stopped it.
    """
    failures = [r for r in returns if r.status == JobStatus.FAILED]
    finished = len(list(folder.glob("*/result.json")))
    if finished:
        _show(folder)
        if not interrupted:
            figures = _draw(folder) if cfg.figures else []
            _track(folder, cfg, returns, figures)
    if interrupted:
        print(
            f"interrupted: {finished} of {num_jobs} jobs are finished and on disk in {folder}; "
            "run the same command again to go on.",
            file=sys.stderr,
        )
    elif failures:
        print(f"{len(failures)} of {num_jobs} jobs failed; {finished} are finished and on disk:", file=sys.stderr)
        for failure in failures:
            print(f"  {' '.join(failure.overrides or [])}: {one_sentence(failure._return_value)}", file=sys.stderr)
        raise SystemExit(1)


def finish_single(folder: Path, cfg: DictConfig) -> None:
    """Show the table of one run and feed the tracker."""
    _show(folder)
    found = results.read_job_result(folder)
    if found is not None and cfg.tracker.name != "none":
        from experiments import tracking

        sink = tracking.tracker(cfg, folder)
        sink.log_job(cfg, found[0])
        sink.finish()


def _show(folder: Path) -> None:
    frame = results.load(folder)
    paths = write_frame(frame, folder)
    console = Console()
    console.print(to_rich(sheets(frame), console.width))
    print(f"Table:   {paths[0]}  (and {paths[1].name})")


def _draw(folder: Path) -> list[Path]:
    from experiments import plots  # matplotlib takes a second to import

    paths, skipped = plots.plot_all(folder)
    for path in paths:
        if path.suffix == ".png":
            print(f"Figure:  {path}")
    for reason in skipped:
        print(f"Skipped: {reason}")
    return [p for p in paths if p.suffix == ".png"]


def _track(folder: Path, cfg: DictConfig, returns: Sequence[JobReturn], figures: Sequence[Path]) -> None:
    if cfg.tracker.name == "none":
        return
    from experiments import tracking

    sink: Any = tracking.tracker(cfg, folder)
    for done in returns:
        if done.status == JobStatus.COMPLETED and done.return_value:
            sink.log_job(done.cfg, done.return_value)
    sink.finish(figures=figures)
