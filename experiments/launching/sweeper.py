"""From grids of overrides to a list of jobs: their union, and a non-private reference for every line."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from dpjax.cli.stopping import status_of
from dpjax.keeping import discard_leftovers
from dpjax.results import ResultsError
from experiments.border import as_typed
from experiments.config import CONF, Config, ConfigError
from experiments.error_words import no_field
from experiments.fields import describe, types
from experiments.launching.compose import as_job, make_compose
from experiments.launching.plan import tell_plan
from experiments.notifying import NO_ADDRESS, foretell, is_address
from experiments.readers import Sweep, depends_on, refuse_unread
from experiments.spelling import one_spelling
from experiments.strict import refuse_strangers

Axes = dict[str, list[str]]
"""Field → its overrides, more than one if it is swept."""

EPSILON = "privacy.epsilon"
BOUND = "privacy.records_per_unit"  # which decides what there is to learn from, with privacy or without

GIVEN = "privacy.noise_multiplier"  # which a reference has none of

_ONE_RUN_EACH = ("results_dir", "experiment", "name", "figures", "notify", "checkpoint_seconds", "tracker")
"""What a sweep has one of: its folder, its settings, its figures, its note at the end and its tracker."""

_FIELDS = {row[0] for row in describe()} | {path.name for path in CONF.iterdir()}
_HOLDERS = tuple(f"{name}." for name, kind in types().items() if kind is dict)  # of names that are the user's


def sweep(sweeper: Any, arguments: Sequence[str]) -> Any:
    """Make the jobs, launch them, and finish the sweep with its table and figures."""
    if is_address(sweeper.config.get("notify", "")):
        raise ConfigError(NO_ADDRESS)  # before any of it is on disk
    foretell(sweeper.config.get("notify", ""))
    loader = sweeper.hydra_context.config_loader
    jobs = expand(arguments, sweeper.grids, sweeper.params, reference=sweeper.reference, config_loader=loader)
    if "BatchedLauncher" not in type(sweeper.launcher).__name__:  # which does it itself, job by job
        _refuse_unread(loader, sweeper.config, jobs)
    folder = Path(sweeper.config.hydra.sweep.dir)
    from experiments.finish import finish_interrupted, finish_sweep, num_finished

    try:
        folder.mkdir(parents=True, exist_ok=True)
        discard_leftovers(folder)
        OmegaConf.save(sweeper.config, folder / "multirun.yaml")
        tell_plan(folder, jobs)
    except (OSError, ResultsError):
        if num_finished(folder) < len(jobs):  # of a finished sweep the table can be shown from any disk
            raise

    try:
        returns = sweeper.launcher.launch([list(job) for job in jobs], initial_job_idx=0)
    except KeyboardInterrupt as stop:
        finish_interrupted(folder, status_of(stop))
    else:
        finish_sweep(folder, as_typed(sweeper.config), returns)
        return returns


def _refuse_unread(loader: Any, config: DictConfig, jobs: Sequence[Sequence[str]]) -> None:
    """What another launcher's jobs, each by itself, could not know: whether anything in the sweep reads a field."""
    compose = make_compose(loader, config)
    composed = [compose(job) for job in jobs]
    cfgs: list[Config] = []
    for each, job in zip(composed, jobs, strict=True):
        cfg = as_job(each, job, 0).cfg
        refuse_strangers(cfg)
        cfgs.append(as_typed(cfg))
    together = Sweep(cfgs)
    for each, cfg in zip(composed, cfgs, strict=True):
        refuse_unread(cfg, each.hydra.runtime.choices, together)


def expand(
    arguments: Iterable[str],
    grids: Sequence[Mapping[str, Any]] = (),
    params: Mapping[str, Any] | None = None,
    *,
    reference: bool = True,
    config_loader: Any = None,
) -> list[tuple[str, ...]]:
    """The jobs of a sweep, each a tuple of overrides, without repetition; non-private references first.

    An axis on the command line takes the place of the same axis in every grid, and is added to those that lack it.
    A reference keeps every axis but the swept ``privacy.*`` ones, which mean nothing without privacy.

    Args:
      arguments: overrides from the command line, in Hydra's grammar: ``a=1,2``, ``a=range(1,4)``, ``a=glob(*)``.
      grids: each a mapping of field → value, which may be swept (``0.5,1,2``) or a list.
      params: overrides that all grids share.
      reference: whether to add the non-private runs.
      config_loader: Hydra's, which knows what ``glob`` finds.

    Raises:
      ConfigError: an axis that is no field, or without end, such as ``interval(0,1)``.

    Example:
      >>> for job in expand(["privacy.epsilon=1,8", "privacy.clip_norm=0.1,1"]):
      ...     print(*job)
      privacy.epsilon=inf
      privacy.epsilon=1 privacy.clip_norm=0.1
      privacy.epsilon=1 privacy.clip_norm=1
      privacy.epsilon=8 privacy.clip_norm=0.1
      privacy.epsilon=8 privacy.clip_norm=1
    """
    parser = OverridesParser.create(config_loader=config_loader)
    typed = _axes(parser, arguments)
    private: dict[frozenset[str], tuple[str, ...]] = {}
    references: dict[frozenset[str], tuple[str, ...]] = {}
    for grid in grids or [{}]:
        axes = {**_axes(parser, (_text(k, v) for k, v in {**(params or {}), **grid}.items())), **typed}
        if reference:
            # The reference stands for every point of the grid without privacy.
            for name in (EPSILON, "privacy"):
                axes[name] = [value for value in axes.get(name, [""]) if not _is_without_privacy(value)]
        for job in itertools.product(*axes.values()):
            named = tuple(override for override in job if override)
            private.setdefault(_point(named), named)
        # Axes that privacy alone reads collapse; what is fixed for the whole sweep stays.
        of_privacy = ("privacy", "clipping")
        ignored = {k for k, v in axes.items() if k.startswith(of_privacy) and len(v) != 1} - {BOUND}
        ignored |= {k for k in axes if k.startswith(of_privacy) and depends_on(k) & (ignored - {EPSILON})}
        if reference and axes[EPSILON] and axes["privacy"]:
            ignored.add(GIVEN)  # without private jobs it is no reference, and what was asked for would be lost
        own_axes = {k: v for k, v in axes.items() if k not in ignored and k != EPSILON}
        for job in itertools.product(*own_axes.values()):
            named = (*(override for override in job if override), f"{EPSILON}=inf")
            references.setdefault(_point(named), named)
    return list({**references, **private}.values()) if reference else list(private.values())


def _point(job: Iterable[str]) -> frozenset[str]:
    """What jobs that are one have in common: overrides in any order, numbers in any spelling."""
    return frozenset(map(one_spelling, job))


def _text(key: str, value: Any) -> str:
    # YAML's null and booleans have names of their own in Hydra's grammar.
    words = {None: "null", True: "true", False: "false"}
    return f"{key}={words.get(value, value) if value is None or isinstance(value, bool) else value}"


def _is_without_privacy(override: str) -> bool:
    name, _, value = override.lstrip("+").partition("=")
    try:
        return (name, value) == ("privacy", "none") or (name == EPSILON and math.isinf(float(value)))
    except ValueError:
        return False


def _axes(parser: OverridesParser, overrides: Iterable[str]) -> Axes:
    axes: Axes = {}
    for override in parser.parse_overrides(list(overrides)):
        key = override.get_key_element()
        name = key.lstrip("+~")
        # Jobs would fail on it one by one, and after the references had run.
        if name.partition("@")[0] not in _FIELDS and not name.startswith(_HOLDERS):
            raise ConfigError(no_field(name))
        axes[name] = values = _values(override)
        if not values:
            raise ConfigError(f"{override.input_line} has no values; give it one or more, or leave it out.")
        if len(values) > 1 and name.startswith(_ONE_RUN_EACH):
            raise ConfigError(
                f"{override.input_line} has several values, but a sweep has one {name.partition('.')[0]}; run the "
                "command once for each."
            )
    return axes


def _values(override: Override) -> list[str]:
    if not override.is_sweep_override():
        return [str(override.input_line)]
    if not override.is_discrete_sweep():
        raise ConfigError(f"{override.input_line} is a continuous range; list its values, or use hydra/sweeper=optuna.")
    return [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
