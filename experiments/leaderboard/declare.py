"""What is declared: the protocol, the tasks and the methods, checked before anything runs."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from experiments.config import ConfigError

FOLDER = Path(__file__).parent
SETTINGS = {
    "records": "central training; ε is for a row",
    "users": "central training; ε is for all rows of a person",
    "clients": "federated training; ε is for a client",
}


@dataclass(frozen=True)
class Protocol:
    """What every method gets on every task.

    Attributes:
      epsilons: budgets that methods are compared at.
      budget: settings of its hyper-parameters that a method may try at each ε.
      validation: share of the training data that settings are judged by.
      tuning_seed: of the runs that are judged.
      seeds: number of runs that are reported, with seeds 0, 1, ...
    """

    epsilons: list[float]
    budget: int
    validation: float
    tuning_seed: int
    seeds: int


@dataclass(frozen=True)
class Task:
    """Something to learn.

    Attributes:
      name: of its file.
      title: in words.
      domain: kind of data, and whose.
      setting: one of ``SETTINGS``.
      needs: data sets and models that are fetched first.
      overrides: of the config, the same for every method.
    """

    name: str
    title: str
    domain: str
    setting: str
    overrides: dict[str, Any]
    needs: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Method:
    """A way to learn it.

    Attributes:
      name: of its file.
      title: in words.
      paper: where it comes from.
      settings: those of ``SETTINGS`` that it is for.
      overrides: of the config, the same at every setting of its hyper-parameters.
      tune: grids whose union are the settings that it tries; values with commas are swept.
      private: False for the run without privacy that the others are measured against.
    """

    name: str
    title: str
    paper: str
    settings: list[str]
    overrides: dict[str, Any]
    tune: list[dict[str, Any]]
    private: bool = True

    @property
    def tuned(self) -> list[str]:
        """Fields of the config that differ between settings."""
        return list(dict.fromkeys(name for grid in self.tune for name in grid))

    def tries(self, setting: Mapping[str, Any]) -> bool:
        """Whether a setting is one of those declared.

        >>> methods()["dp_sgd"].tries({"privacy.clip_norm": 1.0, "optimizer.learning_rate": 0.2})
        True
        >>> methods()["dp_sgd"].tries({"privacy.clip_norm": 0.1, "optimizer.learning_rate": 0.2})
        False
        """
        return any(
            all(setting[name] in map(yaml.safe_load, str(values).split(",")) for name, values in grid.items())
            for grid in self.tune
        )

    @property
    def num_settings(self) -> int:
        """How many there are."""
        return sum(_points(grid) for grid in self.tune)


def protocol() -> Protocol:
    """The protocol as it is declared."""
    return Protocol(**_read(FOLDER / "protocol.yaml"))


def tasks() -> dict[str, Task]:
    """Every task, by name.

    Raises:
      ConfigError: a file that is no task.

    >>> tasks()["digits"].setting
    'records'
    """
    tasks_by_name = {path.stem: _made(Task, path) for path in sorted((FOLDER / "tasks").glob("*.yaml"))}
    for task in tasks_by_name.values():
        if task.setting not in SETTINGS:
            raise ConfigError(f"setting={task.setting} of task {task.name} is not known; use {' or '.join(SETTINGS)}.")
    return tasks_by_name


def methods(budget: int | None = None) -> dict[str, Method]:
    """Every method, by name, the one without privacy first.

    Args:
      budget: settings that each must try; those of the protocol if None.

    Raises:
      ConfigError: a file that is no method, or one that tries more or fewer settings than the others.

    >>> methods()["dp_sgd"].tuned
    ['privacy.clip_norm', 'optimizer.learning_rate']
    """
    allowed = protocol().budget if budget is None else budget
    methods_by_name = [_made(Method, path) for path in sorted((FOLDER / "methods").glob("*.yaml"))]
    for method in methods_by_name:
        unknown = set(method.settings) - set(SETTINGS)
        if unknown:
            raise ConfigError(f"settings of method {method.name}: {', '.join(unknown)}; use {' or '.join(SETTINGS)}.")
        if method.num_settings != allowed:
            raise ConfigError(
                f"tune of method {method.name} has {method.num_settings} settings; the protocol gives every method "
                f"{allowed}."
            )
    return {method.name: method for method in sorted(methods_by_name, key=lambda method: method.private)}


def _made(kind: Any, path: Path) -> Any:
    content = _read(path)
    known = {spec.name for spec in dataclasses.fields(kind)} - {"name"}
    unknown = set(content) - known
    if unknown:
        raise ConfigError(
            f"{path.name} has {', '.join(sorted(unknown))}; a {kind.__name__.lower()} has {sorted(known)}."
        )
    try:
        return kind(name=path.stem, **content)
    except TypeError as error:
        raise ConfigError(f"{path.name} is not whole: {error}.") from error


def _read(path: Path) -> dict[str, Any]:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ConfigError(f"{path.name} holds no fields.")
    # YAML reads 1e-5 as text; Hydra's grammar reads the text as a number.
    return content


def _points(grid: dict[str, Any]) -> int:
    count = 1
    for value in grid.values():
        count *= len(str(value).split(","))
    return count
