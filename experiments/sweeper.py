"""From grids of overrides to a list of jobs: their union, and a non-private reference for every line."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

from experiments.config import ConfigError
from experiments.finish import finish_sweep

Axes = dict[str, list[str]]
"""Override key → its ``key=value`` strings, more than one if it is swept."""

EPSILON = "privacy.epsilon"


def sweep(sweeper: Any, arguments: Sequence[str]) -> Any:
    """Make the jobs, launch them, and finish the sweep with its table and figures."""
    jobs = expand(arguments, sweeper.grids, sweeper.params, reference=sweeper.reference)
    folder = Path(sweeper.config.hydra.sweep.dir)
    folder.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(sweeper.config, folder / "multirun.yaml")
    try:
        returns = sweeper.launcher.launch([list(job) for job in jobs], initial_job_idx=0)
    except KeyboardInterrupt:
        finish_sweep(folder, sweeper.config, len(jobs), [], interrupted=True)
        raise SystemExit(130) from None
    finish_sweep(folder, sweeper.config, len(jobs), returns)
    return returns


def expand(
    arguments: Iterable[str],
    grids: Sequence[Mapping[str, Any]] = (),
    params: Mapping[str, Any] | None = None,
    *,
    reference: bool = True,
) -> list[tuple[str, ...]]:
    """The jobs of a sweep, each a tuple of overrides, without repetition; non-private references first.

    An axis on the command line takes the place of the same axis in every grid, and is added to those that lack it.
    A reference keeps every axis but the swept ``privacy.*`` ones, which mean nothing without privacy.

    Args:
      arguments: overrides from the command line.
      grids: each a mapping of override key → value, which may be swept (``0.5,1,2``).
      params: overrides that all grids share.
      reference: whether to add the non-private runs.

    Example:
      >>> for job in expand(["privacy.epsilon=1,8", "privacy.clip_norm=0.1,1"]):
      ...     print(*job)
      privacy.epsilon=inf
      privacy.epsilon=1 privacy.clip_norm=0.1
      privacy.epsilon=1 privacy.clip_norm=1
      privacy.epsilon=8 privacy.clip_norm=0.1
      privacy.epsilon=8 privacy.clip_norm=1
    """
    typed = _axes(arguments)
    private: dict[tuple[str, ...], None] = {}
    references: dict[tuple[str, ...], None] = {}
    for grid in grids or [{}]:
        axes = {**_axes(f"{k}={v}" for k, v in {**(params or {}), **grid}.items()), **typed}
        for job in itertools.product(*axes.values()):
            private[job] = None
        # Axes that privacy alone reads collapse; what is fixed for the whole sweep stays.
        kept = {k: v for k, v in axes.items() if not (k.startswith("privacy") and len(v) > 1) and k != EPSILON}
        for job in itertools.product(*kept.values()):
            references[(*job, f"{EPSILON}=inf")] = None
    if not reference:
        return list(private)
    return list({**references, **private})


def _axes(overrides: Iterable[str]) -> Axes:
    axes: Axes = {}
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        axes[override.get_key_element()] = _values(override)
    return axes


def _values(override: Override) -> list[str]:
    key = override.get_key_element()
    if not override.is_sweep_override():
        return [f"{key}={override.get_value_element_as_str()}"]
    if not override.is_discrete_sweep():
        raise ConfigError(f"{override.input_line} is a continuous range; list its values, or use hydra/sweeper=optuna.")
    return [f"{key}={value}" for value in override.sweep_string_iterator()]
