"""How a run or a sweep ends: its table, its figures, its tracker, and the truth about what failed."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus

from dpjax import results
from dpjax.results.open_copies import open_beside, sealed_at
from experiments.border import as_typed
from experiments.config import Config
from experiments.error_words import explain, report
from experiments.mixed_units import Units, mixed_units, units_of
from experiments.notifying import notify
from experiments.progress import counted


def finish_sweep(folder: Path, cfg: Config, returns: Sequence[JobReturn]) -> None:
    """Write and show the table, draw the figures, feed the tracker; name what failed and exit with status 1.

    Args:
      folder: the sweep's folder.
      cfg: its master config.
      returns: what came back, one per job.

    Raises:
      SystemExit: with status 1, if a job failed, its result is gone, or the table could not be written.
    """
    failures = [r for r in returns if r.status == JobStatus.FAILED]
    lost = [r for r in returns if r.status == JobStatus.COMPLETED and not _result_of(r).is_file()]
    unwritten = None
    if len(failures) + len(lost) < len(returns):
        unwritten = show_table(folder, units_of(returns))
        _track(folder, cfg, returns, _figures(folder, cfg) if unwritten is None else [])
        _say_what_lies_open(folder, cfg)
    if lost:
        jobs = "1 job was" if len(lost) == 1 else f"{len(lost)} jobs were"
        print(
            f"error: {jobs} finished, but the results are gone from {folder}: {_result_of(lost[0]).parent.name}"
            f"{' and others' if len(lost) > 1 else ''}; run the same command again.",
            file=sys.stderr,
        )
    if unwritten is not None:
        print(f"error: the table is not on disk: {explain(unwritten)}", file=sys.stderr)
    if failures:
        befell = [(" ".join(r.overrides or []), r._return_value) for r in failures]
        print(*report(befell, len(returns), len(returns) - len(failures)), sep="\n", file=sys.stderr)
    notify(cfg.notify, folder, len(returns) - len(failures) - len(lost), len(failures) + len(lost))
    if failures or lost or unwritten is not None:
        raise SystemExit(1)


def _result_of(done: JobReturn) -> Path:
    assert done.hydra_cfg is not None
    return Path(done.hydra_cfg.hydra.runtime.output_dir) / "result.json"


def finish_interrupted(folder: Path, status: int = 130) -> None:
    """Write and show the table of what was finished when the sweep was stopped, and exit.

    Args:
      folder: the sweep's folder.
      status: as a shell reports the signal: 130 after Ctrl-C, 143 after SIGTERM.

    Raises:
      SystemExit: with that status.
    """
    finished = num_finished(folder)
    if finished:
        show_table(folder)
    are = "1 job is" if finished == 1 else f"{finished} jobs are"
    print(f"interrupted: {are} finished and on disk in {folder}; run the same command again to go on.", file=sys.stderr)
    raise SystemExit(status)


def finish_single(folder: Path, cfg: Config) -> None:
    """Show the table of one run and feed the tracker.

    Raises:
      ResultsError: the table could not be written.
    """
    unwritten = show_table(folder)
    if unwritten is not None:
        raise unwritten
    _say_what_lies_open(folder, cfg)
    on_disk = results.read_job_result(folder)
    if on_disk is not None and cfg.tracker.name != "none" and not sealed_at(folder):
        from experiments import tracking

        sink = tracking.tracker(cfg, folder)
        sink.log_job(cfg, on_disk[0])
        sink.finish()
    notify(cfg.notify, folder, 1, 0)


def num_finished(folder: Path) -> int:
    """Jobs of a sweep that have a result."""
    return len(list(folder.glob("*/result.json")))


def show_table(folder: Path, units: Units = frozenset()) -> Exception | None:
    """Show the table and write it; what kept it from being written.

    Args:
      folder: of the sweep.
      units: of the jobs that have just run.
    """
    from rich.console import Console

    from dpjax.results.provenance import made_by_other_code  # pandas: seconds, which bad input need not wait for
    from dpjax.results.sheet import sheets
    from dpjax.results.show import to_rich
    from dpjax.results.table import collected_with, write_frame

    frame, collected = collected_with(folder)
    console = Console()
    console.print(to_rich(sheets(frame), console.width))
    for sentence in made_by_other_code(frame):
        print(f"note: {sentence}.", file=sys.stderr)
    mixed = mixed_units(folder, frame["unit"], units)
    if mixed:
        print(f"note: {mixed}.", file=sys.stderr)
    try:
        paths = write_frame(frame, folder, collected)
    except (OSError, results.ResultsError) as error:  # a disk that can only be read has its table shown all the same
        return error
    print(f"Table:   {paths[0]}  (and {paths[1].name})")
    return None


def _figures(folder: Path, cfg: Config) -> list[Path]:
    """Draw the figures that are not there already, or say that those that are there are left; the pictures."""
    from experiments import plots  # matplotlib takes a second to import

    if cfg.governance.seal or sealed_at(folder):
        print("note: results are sealed, so no figures are drawn; `dpjax plot --open` draws them.", file=sys.stderr)
        return []
    if not cfg.figures:
        drawn_before = folder / "figures"
        if any(drawn_before.glob("*.png")):
            print(f"note: the figures in {drawn_before} are of before: figures=false leaves them.", file=sys.stderr)
        return []
    with counted("figures") as tell:  # what failed is named below
        drawn = plots.plot_all(folder, processes=os.cpu_count() or 1, tell=tell)
    if any(path.stem.startswith("exposure_of_secrets") for path in drawn.paths):
        from experiments.figures.leakage import write_numbers

        print(f"Numbers: {write_numbers(folder)}")
    for path in _pictures(drawn.new):
        print(f"Figure:  {path}")
    kept = len(_pictures(drawn.paths)) - len(_pictures(drawn.new))
    if kept:
        are = "1 figure shows" if kept == 1 else f"{kept} figures show"
        print(f"Kept:    {are} these very results already, in {folder / 'figures'}")
    for path in drawn.removed:
        print(f"Removed: {path}, which showed other rows")
    for reason in drawn.skipped:
        print(f"Not needed here: {reason}")
    return _pictures(drawn.paths)


def _say_what_lies_open(folder: Path, cfg: Config) -> None:
    """That sealing leaves what is to be given out as it is, and what was written before."""
    what = "model" if cfg.save_model else "synthetic texts" if cfg.model.task == "synthetic" else None
    if cfg.governance.seal and what is not None:
        print(f"note: the files of the {what} lie open: they are the private output.", file=sys.stderr)
    if cfg.governance.seal and (left := open_beside(folder)):
        named = ", ".join(left[:5]) + (f" and {len(left) - 5} more" if len(left) > 5 else "")
        print(
            f"note: {folder} holds scores open, as they were written before or with --open: {named}; "
            "take away what may not lie open.",
            file=sys.stderr,
        )


def _pictures(paths: Sequence[Path]) -> list[Path]:
    return [path for path in paths if path.suffix == ".png"]


def _track(folder: Path, cfg: Config, returns: Sequence[JobReturn], figures: Sequence[Path]) -> None:
    if cfg.tracker.name == "none" or sealed_at(folder):
        return
    from experiments import tracking

    sink: Any = tracking.tracker(cfg, folder)
    for done in returns:
        if done.status == JobStatus.COMPLETED and done.return_value and done.cfg is not None:
            sink.log_job(as_typed(done.cfg), done.return_value)
    sink.finish(figures=figures)
