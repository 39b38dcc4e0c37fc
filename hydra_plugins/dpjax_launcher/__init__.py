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


ConfigStore.instance().store(group="hydra/launcher", name="batched", node=BatchedLauncherConf, provider="dpjax")


class BatchedLauncher(Launcher):
    """Runs all jobs that share a compiled program as lanes of it, in this process."""

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[Any]:
        from experiments.launching.launcher import launch

        return launch(self.hydra_context, self.task_function, self.config, job_overrides, initial_job_idx)
