"""The batched launcher: Hydra's jobs, grouped by their static signature, as lanes of one compiled program each.

Configs, folders, logs, callbacks and job returns stay Hydra's own; only the work is done together.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus, configure_log, run_job, setup_globals
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from experiments.progress import Progress
from experiments.task import Job, Outcome, Task

log = logging.getLogger(__name__)


def launch(
    hydra_context: Any, task: Task, config: DictConfig, job_overrides: Sequence[Sequence[str]], first_index: int
) -> list[JobReturn]:
    """Run jobs group by group; finished ones are handed over as they are, a failing one names its overrides.

    Args:
      hydra_context: Hydra's, for composing and for its callbacks.
      task: the task function, which also knows how to run jobs together.
      config: the sweep's master config.
      job_overrides: overrides of each job.
      first_index: number of the first job.

    Returns:
      One ``JobReturn`` per job, in order.
    """
    setup_globals()
    configure_log(config.hydra.hydra_logging, config.hydra.verbose)
    returns: dict[int, JobReturn] = {}
    jobs: dict[int, Job] = {}
    composed: dict[int, DictConfig] = {}
    with Progress(len(job_overrides)) as progress:
        for i, overrides in enumerate(job_overrides):
            progress.tell("composing configs", i, len(job_overrides))
            try:
                composed[i], jobs[i] = _compose(hydra_context, config, overrides, first_index + i)
                task.validate(jobs[i].cfg)
            except Exception as error:
                returns[i] = _failed(overrides, error)
                progress.failed(" ".join(overrides), error)

        def hand_over(i: int, outcome: Outcome) -> None:
            returns[i] = _hand_over(hydra_context, composed[i], outcome)
            (progress.failed(outcome.job.overrides, outcome.error) if outcome.error else progress.finished())

        groups: dict[str, list[int]] = {}
        for i, job in jobs.items():
            if i in returns:
                continue
            rows = task.finished(job.cfg, job.folder)
            if rows is None:
                groups.setdefault(task.key(job.cfg), []).append(i)
            else:
                # What Hydra wrote for it when it ran is still in its folder.
                returns[i] = _completed(composed[i], rows)
                progress.skipped()
        for number, members in enumerate(groups.values(), start=1):
            progress.group(number, len(groups), len(members))
            index = {id(jobs[i]): i for i in members}
            for outcome in _run(task, [jobs[i] for i in members], progress):
                hand_over(index[id(outcome.job)], outcome)
    configure_log(config.hydra.hydra_logging, config.hydra.verbose)
    return [returns[i] for i in range(len(job_overrides))]


def _compose(hydra_context: Any, config: DictConfig, overrides: Sequence[str], index: int) -> tuple[DictConfig, Job]:
    composed = hydra_context.config_loader.load_sweep_config(config, list(overrides))
    with open_dict(composed):
        composed.hydra.job.id = str(index)
        composed.hydra.job.num = index
    before = HydraConfig.instance().cfg
    try:
        HydraConfig.instance().set_config(composed)
        folder = Path(composed.hydra.sweep.dir, composed.hydra.sweep.subdir).absolute()
        with read_write(composed.hydra.runtime), open_dict(composed.hydra.runtime):
            composed.hydra.runtime.output_dir = str(folder)
        plain = OmegaConf.masked_copy(composed, [key for key in composed if key != "hydra"])
        OmegaConf.resolve(plain)
    finally:
        HydraConfig.instance().cfg = before
    return composed, Job(plain, folder, " ".join(overrides))


def _run(task: Task, jobs: list[Job], progress: Progress) -> Any:
    """The group's outcomes; if it fails as a whole for want of resources, each job alone."""
    done: set[int] = set()
    try:
        for outcome in task.run(jobs, progress.tell):
            done.add(id(outcome.job))
            yield outcome
    except Exception as error:
        rest = [job for job in jobs if id(job) not in done]
        if isinstance(error, (ValueError, OSError)) or len(jobs) == 1:
            yield from (Outcome(job, [], error) for job in rest)
            return
        log.warning("A group of %d jobs failed together (%s); running each alone.", len(rest), error)
        for job in rest:
            yield from _run(task, [job], progress)


def _hand_over(hydra_context: Any, composed: DictConfig, outcome: Outcome) -> JobReturn:
    """Hydra's own run_job around a result that is there already."""

    def stub(cfg: DictConfig) -> Any:
        for row in outcome.rows:
            log.info("seed %s: test accuracy %.4f, ε %s", row["seed"], row["test_accuracy"], row["epsilon_pld"])
        if outcome.error is not None:
            log.error("%s", outcome.error)
            raise outcome.error
        return outcome.rows

    return run_job(
        hydra_context=hydra_context,
        task_function=stub,
        config=composed,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )


def _completed(composed: DictConfig, rows: list[dict[str, Any]]) -> JobReturn:
    done = JobReturn(overrides=list(composed.hydra.overrides.task), status=JobStatus.COMPLETED)
    done.return_value = rows
    return done


def _failed(overrides: Sequence[str], error: Exception) -> JobReturn:
    failed = JobReturn(overrides=list(overrides), status=JobStatus.FAILED)
    failed.return_value = error
    return failed
