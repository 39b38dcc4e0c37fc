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


ConfigStore.instance().store(group="hydra/sweeper", name="union", node=UnionSweeperConf, provider="dpjax")


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
