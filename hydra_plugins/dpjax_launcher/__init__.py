"""Hydra finds launchers by scanning this namespace; the work is in experiments.launching.launcher."""

# No `from __future__ import annotations` here: Hydra reads these types at run time.
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.plugins.launcher import Launcher


@dataclass
class BatchedLauncherConf:
    _target_: str = "hydra_plugins.dpjax_launcher.BatchedLauncher"


@dataclass
class RayBatchedLauncherConf:
    _target_: str = "hydra_plugins.dpjax_launcher.RayBatchedLauncher"
    address: str | None = None
    cpus_per_task: float = 1
    gpus_per_task: float = 0
    points_per_task: int | None = None
    retries: int = 3


for _name, _node in (("batched", BatchedLauncherConf), ("ray_batched", RayBatchedLauncherConf)):
    ConfigStore.instance().store(group="hydra/launcher", name=_name, node=_node, provider="dpjax")


class BatchedLauncher(Launcher):
    """Runs all jobs that share a compiled program as lanes of it, in this process."""

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[Any]:
        from experiments.launching.launcher import launch

        execute = self.executor()
        return launch(
            self.hydra_context, self.task_function, self.config, job_overrides, initial_job_idx, execute=execute
        )

    def executor(self) -> Any:
        """Where groups of jobs run."""
        from experiments.launching.groups import run_here

        return run_here


class RayBatchedLauncher(BatchedLauncher):
    """Runs all jobs that share a compiled program as lanes of it, on the nodes of a Ray cluster."""

    def __init__(self, **options: Any) -> None:
        self._options = options

    def executor(self) -> Any:
        """Where groups of jobs run."""
        from experiments.launching.on_ray import RayExecutor, RayOptions

        return RayExecutor(RayOptions(**self._options))
