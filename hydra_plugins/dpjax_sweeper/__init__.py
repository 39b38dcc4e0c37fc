"""Hydra finds sweepers by scanning this namespace; the work is in experiments.launching.sweeper."""

# No `from __future__ import annotations` here: Hydra reads these types at run time.
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.plugins.sweeper import Sweeper


@dataclass
class UnionSweeperConf:
    _target_: str = "hydra_plugins.dpjax_sweeper.UnionSweeper"
    params: dict[str, Any] = field(default_factory=dict)
    grids: list[dict[str, Any]] = field(default_factory=list)
    reference: bool = True


@dataclass
class OptunaBatchedSweeperConf:
    _target_: str = "hydra_plugins.dpjax_sweeper.OptunaBatchedSweeper"
    params: dict[str, Any] = field(default_factory=dict)
    n_trials: int = 40
    batch: int = 8
    objectives: list[str] = field(default_factory=lambda: ["accuracy"])
    sampler: str = "tpe"
    seed: int = 0
    storage: str | None = None
    prune: bool = False
    grids: list[dict[str, Any]] = field(default_factory=list)


for _name, _node in (("union", UnionSweeperConf), ("optuna_batched", OptunaBatchedSweeperConf)):
    ConfigStore.instance().store(group="hydra/sweeper", name=_name, node=_node, provider="dpjax")


class UnionSweeper(Sweeper):
    """The union of several grids of overrides, each with its non-private reference runs."""

    def __init__(self, params: Any = None, grids: Any = (), reference: bool = True) -> None:
        self.params = dict(params or {})
        self.grids = [dict(grid) for grid in grids]
        self.reference = reference

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        from hydra.core.plugins import Plugins

        self.hydra_context = hydra_context
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        from experiments.launching.sweeper import sweep

        return sweep(self, arguments)


class OptunaBatchedSweeper(UnionSweeper):
    """Searches by Optuna, in batches that share compiled programs."""

    def __init__(self, params: Any = None, grids: Any = (), **options: Any) -> None:
        super().__init__(params, grids)
        self._options = options

    def sweep(self, arguments: list[str]) -> Any:
        from experiments.launching.search import search
        from experiments.launching.study import SearchOptions

        options: dict[str, Any] = self._options | {"objectives": tuple(self._options.get("objectives", ("accuracy",)))}
        return search(self, SearchOptions(**options), arguments)
