"""A study of Optuna that survives its driver: its trials, what was told of them, and those that a killed run left."""

import errno
import fcntl
import json
import logging
import math
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

from experiments.config import ConfigError
from experiments.identity import NOT_OF_THE_RESULT
from experiments.launching.space import Axis, Space

Direction = Literal["minimize", "maximize"]
JOURNAL = "study.journal"
"""Of a search in the sweep's folder, where no storage is given."""

LOCK = ".study.lock"
_NAME = "dpjax"
_DEVIATION = "deviation over seeds"
_OF_NO_NUMBER = tuple(f"{name}{mark}" for name in NOT_OF_THE_RESULT for mark in "=.")
_WORDS = {"space": "fields to choose", "fixed": "fixed fields", "objectives": "objectives"}


class SearchOptions(NamedTuple):
    """How a search goes.

    Attributes:
      n_trials: points in all, those of earlier runs of the same command among them.
      batch: points that are trained together.
      objectives: ``accuracy`` (validation accuracy where rows were held out, else test accuracy, or R²), ``epsilon``,
        or a column of the results; ``minimize:COLUMN`` or ``maximize:COLUMN`` says which way is better.
      sampler: ``tpe``, ``nsga2``, ``random`` or ``gp`` (which needs torch).
      seed: of the sampler.
      storage: a URL of SQLAlchemy; None: a journal in the sweep's folder.
      prune: train one seed of each point first, and the others only where the point can still win.
    """

    n_trials: int = 40
    batch: int = 8
    objectives: tuple[str, ...] = ("accuracy",)
    sampler: str = "tpe"
    seed: int = 0
    storage: str | None = None
    prune: bool = False


class Study:
    """What a search knows of its trials.

    Args:
      study: of Optuna.
      space: that trials are of.
    """

    def __init__(self, study: Any, space: Space) -> None:
        self._study = study
        self._space = space

    def next_trials(self, total: int, batch: int) -> list[Any]:
        """Trials to be run: those that a killed run left, then new ones; at most ``total`` in all.

        Args:
          total: trials that the search has.
          batch: most that are given.
        """
        from optuna.trial import TrialState

        left = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        for trial in left:
            if trial.params.keys() != self._space.chosen.keys():  # the driver was killed while it was drawn
                self.drop(trial, pruned=False)
        left = [trial for trial in left if trial.params.keys() == self._space.chosen.keys()][:batch]
        new = min(batch - len(left), total - len(self._study.get_trials(deepcopy=False)))
        asked = [self._study.ask(_distributions(self._space)) for _ in range(new)]
        return [*left, *asked]

    def known(self, params: dict[str, Any]) -> list[float] | None:
        """What a point that was tried has reached, in each objective; None of a new one.

        Args:
          params: of the point.
        """
        from optuna.trial import TrialState

        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            if trial.params == params:
                return list(trial.values)
        return None

    def complete(self, trial: Any, values: Sequence[float], of_seeds: Sequence[float] = ()) -> None:
        """Tell what a point reached.

        Args:
          trial: from ``next_trials``.
          values: of each objective.
          of_seeds: of the only objective, by seed.
        """
        from optuna.trial import Trial

        if len(of_seeds) > 1:
            mean = math.fsum(of_seeds) / len(of_seeds)
            spread = math.sqrt(math.fsum((each - mean) ** 2 for each in of_seeds) / (len(of_seeds) - 1))
            Trial(self._study, trial._trial_id).set_user_attr(_DEVIATION, spread)
        self._study.tell(trial.number, list(values))

    def drop(self, trial: Any, *, pruned: bool) -> None:
        """Tell that a point failed, or was pruned.

        Args:
          trial: from ``next_trials``.
          pruned: whether it was.
        """
        from optuna.trial import TrialState

        self._study.tell(trial.number, state=TrialState.PRUNED if pruned else TrialState.FAIL)

    def deviations(self) -> list[float]:
        """Over seeds, of each point that was trained with several."""
        from optuna.trial import TrialState

        trials = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return [float(trial.user_attrs[_DEVIATION]) for trial in trials if _DEVIATION in trial.user_attrs]

    def best(self) -> float | None:
        """The best value of the only objective; None before the first."""
        try:
            return float(self._study.best_value)
        except ValueError:
            return None

    def best_params(self) -> dict[str, Any]:
        """Of the best trial of the only objective."""
        return dict(self._study.best_params)

    def points(self) -> int:
        """Distinct points of all trials that were told."""
        trials = [trial for trial in self._study.get_trials(deepcopy=False) if trial.state.is_finished()]
        return len({json.dumps(trial.params, sort_keys=True) for trial in trials})

    def failed(self) -> int:
        """Trials that have no value."""
        from optuna.trial import TrialState

        return len(self._study.get_trials(deepcopy=False, states=(TrialState.FAIL,)))

    def front(self) -> tuple[int, int]:
        """How many trials no other beats, and of how many."""
        from optuna.trial import TrialState

        return len(self._study.best_trials), len(self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))


@contextmanager
def open_study(folder: Path, space: Space, directions: Sequence[Direction], options: SearchOptions) -> Iterator[Study]:
    """A new study, or the one that an earlier run of the same command left.

    Args:
      folder: of the sweep.
      space: of the search.
      directions: ``minimize`` or ``maximize`` of each objective.
      options: of the search.

    Raises:
      ConfigError: no Optuna, a storage that can't be used, or a study of another space or other objectives.
    """
    try:
        import optuna
    except ImportError:
        raise ConfigError("hydra/sweeper=optuna_batched needs Optuna; install it with the extra tune.") from None
    optuna.logging.set_verbosity(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        storage = _storage(folder, options.storage)
        name = _NAME if options.storage is None else f"{_NAME} {folder.absolute()}"
        try:
            study = optuna.create_study(
                storage=storage,
                study_name=name,
                directions=list(directions),
                load_if_exists=True,
            )
            _refuse_another(study, space, options)
            study.sampler = _sampler(options, len(study.get_trials(deepcopy=False)))
        except ConfigError:
            raise
        except Exception as error:
            raise _no_storage(options.storage or str(folder / JOURNAL), error) from error
    with _alone(folder):
        yield Study(study, space)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time tells a study what came of its trials."""
    handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):  # any other is of a file system that has no locks
                raise ConfigError(
                    f"another process searches in {folder}; wait for it, or give this one a name of its own, as "
                    "name=second."
                ) from None
        yield
    finally:
        os.close(handle)


def _storage(folder: Path, url: str | None) -> Any:
    import optuna

    try:
        if url is not None:
            return optuna.storages.get_storage(url)
        from optuna.storages.journal import JournalFileBackend

        return optuna.storages.JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
    except Exception as error:
        raise _no_storage(url or str(folder / JOURNAL), error) from error


def _no_storage(where: str, error: Exception) -> ConfigError:
    scheme, slashes, rest = where.partition("://")
    shown = f"{scheme}://…@{rest.rpartition('@')[2]}" if slashes and "@" in rest else where  # without the password
    why = " ".join(str(error).split()).partition(" (Background")[0]
    if "@" in rest:
        why = type(error).__name__
    return ConfigError(
        f"hydra.sweeper.storage={shown} can't be used ({why[:150]}); give a URL such as sqlite:///study.db, or leave "
        "it out."
    )


def _sampler(options: SearchOptions, drawn: int) -> Any:
    """A sampler that does not draw again what one before it has drawn, as its state is not kept."""
    import optuna

    seed = options.seed + drawn
    known = {
        "tpe": lambda: optuna.samplers.TPESampler(seed=seed, constant_liar=True),
        "nsga2": lambda: optuna.samplers.NSGAIISampler(seed=seed, population_size=max(2, options.batch)),
        "random": lambda: optuna.samplers.RandomSampler(seed=seed),
        "gp": lambda: optuna.samplers.GPSampler(seed=seed),
    }
    if options.sampler not in known:
        raise ConfigError(f"hydra.sweeper.sampler={options.sampler} is not known; use {', '.join(known)}.")
    if options.sampler == "gp" and find_spec("torch") is None:  # which Optuna asks for after some trials only
        raise ConfigError("hydra.sweeper.sampler=gp needs torch; install it, or use tpe.")
    return known[options.sampler]()


def _refuse_another(study: Any, space: Space, options: SearchOptions) -> None:
    """Points of two spaces, or judged by two measures, make no study."""
    mine = {
        "space": json.dumps({name: axis._asdict() for name, axis in space.chosen.items()}, sort_keys=True),
        "fixed": json.dumps(sorted(word for word in space.fixed if not word.lstrip("+").startswith(_OF_NO_NUMBER))),
        "objectives": json.dumps(list(options.objectives)),
    }
    before = study.user_attrs
    for what, value in mine.items():
        if before.get(what, value) != value:
            raise ConfigError(
                f"the study in this folder has other {_WORDS[what]}: {_difference(before[what], value)}; give this one "
                "a name of its own, as name=second."
            )
        if what not in before:
            study.set_user_attr(what, value)


def _difference(before: str, now: str) -> str:
    """The first thing in which two of what a study is of differ, as it was and as it is."""
    was, is_ = json.loads(before), json.loads(now)
    if isinstance(was, dict):
        name = next(name for name in {**was, **is_} if was.get(name) != is_.get(name))
        return (
            f"{name} was {'chosen otherwise' if name in was and name in is_ else 'chosen' if name in was else 'fixed'}"
        )
    gone, new = [each for each in was if each not in is_], [each for each in is_ if each not in was]
    return f"{', '.join(gone) or 'nothing'} there, {', '.join(new) or 'nothing'} here"


def _distributions(space: Space) -> dict[str, Any]:
    return {name: _distribution(axis) for name, axis in space.chosen.items()}


def _distribution(axis: Axis) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if axis.kind == "choice":
        return CategoricalDistribution(axis.options)
    if axis.kind == "int":
        return IntDistribution(int(axis.low), int(axis.high), log=axis.log, step=int(axis.step or 1))
    return FloatDistribution(axis.low, axis.high, log=axis.log, step=axis.step)
