"""Hydra finds launchers by scanning this namespace; the work is in experiments.launching.launcher."""

# No `from __future__ import annotations` here: Hydra reads these types at run time.
from collections.abc import Sequence
from dataclasses import dataclass, field
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


@dataclass
class SlurmBatchedLauncherConf:
    _target_: str = "hydra_plugins.dpjax_launcher.SlurmBatchedLauncher"
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    timeout_min: int = 240
    cpus_per_task: int = 1
    gpus_per_task: int = 0
    mem_gb: float | None = None
    max_parallel: int = 8
    points_per_task: int | None = None
    retries: int = 3
    max_num_timeout: int = 50
    signal_delay_s: int = 120
    setup: list[str] = field(default_factory=list)
    additional_parameters: dict[str, Any] = field(default_factory=dict)


_NODES = {"batched": BatchedLauncherConf, "ray_batched": RayBatchedLauncherConf}
_NODES["slurm_batched"] = SlurmBatchedLauncherConf
for _name, _node in _NODES.items():
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


class SlurmBatchedLauncher(BatchedLauncher):
    """Runs all jobs that share a compiled program as lanes of it, in tasks of SLURM."""

    def __init__(self, **options: Any) -> None:
        self._options = options

    def executor(self) -> Any:
        """Where groups of jobs run."""
        from omegaconf import OmegaConf

        from experiments.launching.on_slurm import SlurmExecutor
        from experiments.launching.slurm_work import SlurmOptions

        plain: Any = OmegaConf.to_container(OmegaConf.create(self._options))
        return SlurmExecutor(SlurmOptions(**plain))
