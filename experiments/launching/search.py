"""A search by Optuna in batches, whose trials are jobs of one sweep and lanes of one program where they can be."""

import math
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from dpjax.checks import nearest
from dpjax.cli.stopping import status_of
from dpjax.datasets.patterns import any_sealed
from dpjax.keeping import discard_leftovers
from dpjax.results.open_copies import sealed_at
from dpjax.results.schema import SCHEMA, lower_is_better
from experiments.border import as_typed
from experiments.config import ConfigError
from experiments.launching.plan import tell_plan
from experiments.launching.space import Space, make_space, written
from experiments.launching.study import Direction, SearchOptions, Study, open_study
from experiments.notifying import NO_ADDRESS, foretell, is_address
from experiments.task import Told
from experiments.withheld import is_withheld

_DOUBT = 3.0
"""Deviations over seeds below the best from which on a point can't win."""

_SEALED_ROWS = (
    "data.path names sealed rows, and a search writes scores on them open into its study; sweep a grid that was "
    "planned beforehand."
)

_POINTS = 3
"""That must have been trained with several seeds before it is known how seeds spread."""


def search(sweeper: Any, options: SearchOptions, arguments: Sequence[str]) -> list[JobReturn]:
    """Ask Optuna for batches of points, launch them, and finish the sweep with its table and figures.

    Formal guarantees: the same command goes on where it was stopped; a trial that was under way is run, not drawn.

    Args:
      sweeper: of Hydra, with its launcher.
      options: how.
      arguments: of the command line.

    Raises:
      ConfigError: options or a space that can't be, or a study of another space.
    """
    if is_address(sweeper.config.get("notify", "")):
        raise ConfigError(NO_ADDRESS)
    if OmegaConf.select(sweeper.config, "governance.name") not in (None, "off"):
        raise ConfigError(
            "governance=local pays for what runs give out, and a search is steered by scores on rows, which no ε "
            "covers; sweep a grid that was planned beforehand."
        )
    _refuse_sealed(Path(sweeper.config.hydra.sweep.dir), sweeper.config)
    _check(options)
    space = make_space(arguments, sweeper.params, sweeper.hydra_context.config_loader)
    _refuse_sealed_axes(space)
    _check_prune(options, space, sweeper.config.get("num_seeds"))
    directions: list[Direction] = [_direction(name) for name in options.objectives]
    foretell(sweeper.config.get("notify", ""))
    if getattr(sweeper, "grids", None):
        print("note: a search leaves the grids of the experiment out; its other settings hold.", file=sys.stderr)
    from experiments.finish import finish_interrupted, finish_sweep, show_table

    folder = Path(sweeper.config.hydra.sweep.dir)
    folder.mkdir(parents=True, exist_ok=True)
    discard_leftovers(folder)
    OmegaConf.save(sweeper.config, folder / "multirun.yaml")
    tell_plan(folder, None, options.n_trials)
    returns: list[JobReturn] = []
    with open_study(folder, space, directions, options) as study:
        try:
            while trials := study.next_trials(options.n_trials, options.batch):
                print(f"Trials {_numbers(trials)} of {options.n_trials}.", file=sys.stderr)
                batch = _run_batch(sweeper, study, trials, space, options, len(returns))
                returns += batch
                if batch and all(each.status == JobStatus.FAILED for each in batch) and not study.front()[1]:
                    break  # what the first ones all fail by, the next ones would too
        except KeyboardInterrupt as stop:
            finish_interrupted(folder, status_of(stop))
        _say(study, options)
        failed, points = study.failed(), study.points()
    tell_plan(folder, None, points)  # of a small space some were drawn more than once
    if not returns:
        befell = f", {failed} of them without a value; give another name to try them again" if failed else ""
        counted = "The one trial ended" if options.n_trials == 1 else f"All {options.n_trials} trials ended"
        print(
            f"{counted} before{befell}; raise hydra.sweeper.n_trials for more.",
            file=sys.stderr,
        )
        show_table(folder)
        if failed:
            raise SystemExit(1)
        return returns
    finish_sweep(folder, as_typed(sweeper.config), returns)
    return returns


def _refuse_sealed(folder: Path, config: Any) -> None:
    """Refuse what a study would write open: scores on rows, or of results, that lie sealed."""
    if sealed_at(folder):
        raise ConfigError(
            f"{folder} holds sealed results, and a search writes their scores open into its study; give it a folder of "
            "its own, as name=second, or sweep a grid."
        )
    if is_withheld(config):
        raise ConfigError(_SEALED_ROWS)


def _refuse_sealed_axes(space: Space) -> None:
    words = [word.partition("=")[::2] for word in space.fixed]
    words += [(name, option) for name, axis in space.chosen.items() for option in axis.options]
    for name, value in words:
        if name.lstrip("+") in ("data.path", "data.name", "data") and any_sealed(value.strip("'\"").partition("?")[0]):
            raise ConfigError(_SEALED_ROWS)


def _check(options: SearchOptions) -> None:
    prefix = "hydra.sweeper."
    for name in ("n_trials", "batch"):
        if getattr(options, name) < 1:
            raise ConfigError(f"{prefix}{name}={getattr(options, name)} must be ≥ 1.")
    for name in (objective.rpartition(":")[2] for objective in options.objectives):
        if name not in ("accuracy", *SCHEMA) and (near := nearest(name, ("accuracy", *SCHEMA))):
            raise ConfigError(f"{prefix}objectives: {name} is no column of the results; did you mean {near}?")
    if not options.objectives:
        raise ConfigError(f"{prefix}objectives is empty; give [accuracy], or [accuracy,epsilon].")
    if options.prune and len(options.objectives) > 1:
        raise ConfigError(
            f"{prefix}prune=true is of one objective, and {len(options.objectives)} are given: on a front a point that "
            "is worse in one may be the best in another; leave it out."
        )


def _check_prune(options: SearchOptions, space: Space, num_seeds: int | None) -> None:
    """Refuse to prune where a point's first seed is its last."""
    if options.prune and ("num_seeds=1" in space.fixed or num_seeds == 1):
        raise ConfigError(
            "hydra.sweeper.prune=true trains one seed of a point before its others, and num_seeds=1 has no others; "
            "leave it out."
        )


def _numbers(trials: Sequence[Any]) -> str:
    """Trials as a person counts them: 1–8, or 5, 9–12."""
    parts: list[list[int]] = []
    for number in sorted(trial.number + 1 for trial in trials):
        if parts and parts[-1][-1] == number - 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(f"{part[0]}–{part[-1]}" if len(part) > 1 else str(part[0]) for part in parts)


def _direction(objective: str) -> Direction:
    way, colon, name = objective.rpartition(":")
    if way == "minimize" or way == "maximize":
        return way
    if colon:
        raise ConfigError(f"hydra.sweeper.objectives: {objective} begins with {way}; write minimize: or maximize:.")
    return "minimize" if name == "epsilon" or lower_is_better(name) else "maximize"


def _value(objective: str, rows: Told) -> float:
    """What a job reached in an objective, as the mean over its seeds."""
    name = objective.rpartition(":")[2]
    if name == "accuracy":
        return float(rows)
    values = [row.get(name) for row in rows]
    if not values or not all(isinstance(value, int | float) for value in values):
        known = sorted(key for key, value in rows[0].items() if isinstance(value, int | float)) if rows else []
        raise ConfigError(
            f"hydra.sweeper.objectives: {name} is no number of the results; there are {', '.join(known[:12])} and "
            "others."
        )
    return float(statistics.fmean(values))  # pyright: ignore[reportArgumentType]


def _run_batch(
    sweeper: Any, study: Study, trials: Sequence[Any], space: Space, options: SearchOptions, index: int
) -> list[JobReturn]:
    """Launch trials and tell the study what came of them; points that were tried are told what they had reached."""
    points: dict[tuple[str, ...], list[Any]] = {}
    for trial in trials:
        known = study.known(trial.params)
        if known is None:
            points.setdefault(tuple(_overrides(trial.params, space)), []).append(trial)
        else:
            study.complete(trial, known)
    jobs = list(points)
    returns: list[JobReturn] = []
    if options.prune and jobs:
        first = sweeper.launcher.launch([[*job, "num_seeds=1"] for job in jobs], initial_job_idx=index)
        lost = {
            job: done
            for job, done in zip(jobs, first, strict=True)
            if done.status == JobStatus.COMPLETED and _cannot_win(study, options.objectives[0], _told(done))
        }
        for job, done in lost.items():
            returns.append(done)
            for trial in points[job]:
                study.drop(trial, pruned=True)
        if lost:
            print(f"{len(lost)} of {len(jobs)} points can't win after one seed.", file=sys.stderr)
        jobs = [job for job in jobs if job not in lost]
    if jobs:
        launched = sweeper.launcher.launch([list(job) for job in jobs], initial_job_idx=index)
        for job, done in zip(jobs, launched, strict=True):
            returns.append(done)
            for trial in points[job]:
                _tell(study, trial, done, options.objectives)
    return returns


def _tell(study: Study, trial: Any, done: JobReturn, objectives: Sequence[str]) -> None:
    if done.status != JobStatus.COMPLETED:
        return study.drop(trial, pruned=False)
    if done.cfg is not None and is_withheld(done.cfg):  # whatever way it came to be
        raise ConfigError(_SEALED_ROWS)
    rows = _told(done)
    values = [_value(objective, rows) for objective in objectives]
    if any(math.isnan(value) for value in values):
        return study.drop(trial, pruned=False)
    by_seed = [_value(objectives[0], Told([row])) for row in rows] if len(objectives) == 1 else []
    study.complete(trial, values, by_seed)


def _told(done: JobReturn) -> Told:
    rows: Any = done.return_value
    return rows if isinstance(rows, Told) else Told(rows)


def _overrides(params: dict[str, Any], space: Space) -> list[str]:
    return [*space.fixed, *(written(name, params[name]) for name in space.chosen)]


def _cannot_win(study: Study, objective: str, rows: Told) -> bool:
    """Whether one seed says that a point's mean can't be the best: it lies far below it, as seeds spread elsewhere."""
    deviations, best = study.deviations(), study.best()
    if best is None or len(deviations) < _POINTS:
        return False
    deviation = math.sqrt(statistics.fmean(each**2 for each in deviations))
    behind = best - _value(objective, rows)
    return (behind if _direction(objective) == "maximize" else -behind) > _DOUBT * deviation


def _say(study: Study, options: SearchOptions) -> None:
    """One line of what was found."""
    if len(options.objectives) == 1 and (best := study.best()) is not None:
        chosen = " ".join(written(name, value) for name, value in study.best_params().items())
        print(f"Best of the trials in {options.objectives[0]}, {best:.4g}: {chosen}")
    if len(options.objectives) > 1:
        unbeaten, of = study.front()
        print(f"{unbeaten} of {of} trials are beaten by none in {' and '.join(options.objectives)}.")
