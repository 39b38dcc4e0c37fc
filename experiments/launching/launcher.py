"""The batched launcher: Hydra's jobs, grouped by their static signature, as lanes of one compiled program each.

Configs, folders, logs, callbacks and job returns stay Hydra's own; only the work is done together.
"""

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus, configure_log, run_job, setup_globals
from omegaconf import DictConfig, OmegaConf

from dpjax.keeping import this_process
from dpjax.results.failures import write_failure
from dpjax.results.sealing import is_of_keys
from experiments.config import ConfigError
from experiments.error_words import explain, is_disk_full, is_refusal
from experiments.launching.compose import Composed, as_job, make_compose, set_number
from experiments.launching.groups import Executor, run_here
from experiments.launching.plan import telling
from experiments.launching.points import Point, make_points
from experiments.progress import Progress
from experiments.readers import Sweep, refuse_unread
from experiments.strict import refuse_choices
from experiments.task import Job, Outcome, Task, Tell, Told
from experiments.withheld import in_an_open_file, is_withheld

log = logging.getLogger(__name__)


def launch(
    hydra_context: Any,
    task: Task,
    config: DictConfig,
    job_overrides: Sequence[Sequence[str]],
    first_index: int,
    *,
    execute: Executor = run_here,
) -> list[JobReturn]:
    """Run jobs group by group; finished ones are handed over as they are, a failing one names its overrides.

    Args:
      hydra_context: Hydra's, for composing and for its callbacks.
      task: the task function, which also knows how to run jobs together.
      config: the sweep's master config.
      job_overrides: overrides of each job.
      first_index: number of the first job.
      execute: where groups run.

    Returns:
      One ``JobReturn`` per job, in order.

    Raises:
      ResultsError, OSError: the disk is full or can't be written; what was finished before is on disk.
    """
    setup_globals()
    configure_log(config.hydra.hydra_logging, config.hydra.verbose)
    returns: dict[int, JobReturn] = {}
    jobs: dict[int, Job] = {}
    points: dict[int, Point] = {}
    compose = make_compose(hydra_context.config_loader, config)
    make_point = make_points(hydra_context.config_loader, compose, task)

    def composed(i: int) -> DictConfig:
        """A job as Hydra has it, which is asked for only when it has ended."""
        made = compose(job_overrides[i])
        as_job(made, job_overrides[i], first_index + i)
        return made

    def refused(i: int) -> Composed | None:
        """A job that can't run, if it is one: its folder remembers it."""
        with suppress(Exception):
            made = compose(job_overrides[i])
            set_number(made, first_index + i)
            refuse_choices(made.hydra, sweep=True)
            return as_job(made, job_overrides[i], first_index + i)
        return None

    sweep_folder = Path(str(config.hydra.sweep.dir))
    with Progress(len(job_overrides), tell_left=telling(sweep_folder)) as progress:

        def hand_over(i: int, outcome: Outcome) -> None:
            returns[i] = _hand_over(hydra_context, composed(i), outcome)
            if outcome.error is None:
                return progress.finished(outcome.job.overrides, outcome.rows)
            progress.failed(outcome.job.overrides, outcome.error)
            _remember(outcome.job, outcome.error)
            if is_disk_full(outcome.error):
                raise outcome.error  # every job to come would compute in vain

        folders: dict[Path, str] = {}
        for i, overrides in enumerate(job_overrides):
            progress.tell("composing configs", i, len(job_overrides))
            try:
                points[i] = make_point(overrides, first_index + i)
                jobs[i] = Job(points[i].cfg, points[i].folder, points[i].overrides, this_process())
                _refuse_shared(folders, jobs[i])
            except Exception as error:
                returns[i] = _failed(overrides, error)
                if (failed := jobs.get(i) or refused(i)) is not None:
                    _remember(failed, error)
        valid = [i for i in jobs if i not in returns]
        together = Sweep([jobs[i].cfg for i in valid])
        for i in valid:
            try:
                refuse_unread(jobs[i].cfg, points[i].choices, together)
            except ConfigError as error:
                returns[i] = _failed(job_overrides[i], error)
                _remember(jobs[i], error)
        if len(returns) == len(job_overrides):
            return [returns[i] for i in range(len(job_overrides))]
        for failed in returns.values():
            progress.failed(" ".join(failed.overrides or []), failed._return_value)
        groups: dict[str, list[int]] = {}
        for i, job in jobs.items():
            if i in returns:
                continue
            rows = task.finished(job.cfg, job.folder)
            if rows is None:
                groups.setdefault(task.key(job.cfg), []).append(i)
            else:
                hydras = job.folder / str(config.hydra.output_subdir or "")
                # Without them it was killed between its result and what Hydra writes for it.
                returns[i] = (
                    _completed(job_overrides[i], job, rows)
                    if hydras.is_dir()
                    else _hand_over(hydra_context, composed(i), Outcome(job, rows))
                )
                progress.skipped(job.overrides, rows)
        if not groups and all(done.status == JobStatus.COMPLETED for done in returns.values()):
            progress.all_skipped()
        index = {id(jobs[i]): i for members in groups.values() for i in members}
        shapes = [[jobs[i] for i in members] for members in groups.values()]
        # A group that runs here and alone reserves by itself, once it knows what it spends.
        at_once = [] if execute is run_here and len(shapes) == 1 else shapes
        _admit(task, shapes)
        with _reserved(task, at_once, progress.tell):
            for outcome in execute(task, shapes, progress, sweep_folder):
                hand_over(index[id(outcome.job)], outcome)
    configure_log(config.hydra.hydra_logging, config.hydra.verbose)
    return [returns[i] for i in range(len(job_overrides))]


def _admit(task: Task, groups: Sequence[Sequence[Job]]) -> None:
    """What can't begin is refused before any job has a folder; what this person may not is remembered by all."""
    try:
        task.admit(groups)
    except ValueError as error:
        _remember_refusal(groups, error)
        raise


def _remember_refusal(groups: Sequence[Sequence[Job]], error: Exception) -> None:
    if is_refusal(error) and not isinstance(error, ConfigError):  # the config is to be changed, and its points with it
        for job in (each for jobs in groups for each in jobs):
            _remember(job, error)


@contextmanager
def _reserved(task: Task, groups: Sequence[Sequence[Job]], tell: Tell) -> Iterator[None]:
    """What all groups spend is reserved; what is refused is remembered by all of their folders."""
    try:
        held = task.reserve(groups, tell)
    except ValueError as error:
        _remember_refusal(groups, error)
        raise
    with held:
        yield


def _remember(job: Job | Composed, error: Exception) -> None:
    """So that no table of the folder forgets the job."""
    seal = is_withheld(job.cfg) and not is_of_keys(error)
    name, why = str(job.cfg.experiment), explain(error)
    write_failure(job.folder, name, job.overrides, why, refused=is_refusal(error), seal=seal)


def _refuse_shared(folders: dict[Path, str], job: Job) -> None:
    """Two jobs in one folder would take each other's results for their own."""
    other = folders.setdefault(job.folder, job.overrides)
    if other is not job.overrides:
        raise ConfigError(
            f"{job.overrides} has the folder of {other}; num_seeds, lanes, figures, notify, checkpoint_seconds, "
            "tracker and governance name no folder, so sweep them in runs of their own with results_dir=FOLDER."
        )


def _hand_over(hydra_context: Any, composed: DictConfig, outcome: Outcome) -> JobReturn:
    """Hydra's own run_job around a result that is there already."""

    def stub(cfg: DictConfig) -> Any:
        sealed = OmegaConf.select(cfg, "governance.seal")
        for row in () if sealed else outcome.rows:  # the log lies open
            name = "test_r2" if row.get("test_accuracy") is None else "test_accuracy"
            value = math.nan if row.get(name) is None else row[name]  # of a run that diverged
            log.info("seed %s: %s %.4f, ε %s", row["seed"], name.replace("_", " "), value, row["epsilon_pld"])
        if outcome.error is not None:
            if (instead := in_an_open_file(outcome.job.cfg, outcome.error)) is not None:
                log.error("%s", instead)
            else:
                log.error("%s", explain(outcome.error), exc_info=outcome.error)
            raise outcome.error
        return Told(outcome.rows)

    try:
        return run_job(
            hydra_context=hydra_context,
            task_function=stub,
            config=composed,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
    except OSError as error:
        error.filename = error.filename or str(outcome.job.folder)  # a failed write does not name its file
        raise


def _completed(overrides: Sequence[str], job: Job, rows: list[dict[str, Any]]) -> JobReturn:
    """Of a job that was done before: what the end of a sweep reads of it, as all else would have to be composed."""
    done = JobReturn(overrides=list(overrides), status=JobStatus.COMPLETED)
    done.cfg, done.return_value = OmegaConf.structured(job.cfg), Told(rows)
    done.hydra_cfg = OmegaConf.create({"hydra": {"runtime": {"output_dir": str(job.folder)}}})
    return done


def _failed(overrides: Sequence[str], error: Exception) -> JobReturn:
    failed = JobReturn(overrides=list(overrides), status=JobStatus.FAILED)
    failed.return_value = error
    return failed
