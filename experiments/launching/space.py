"""What a search chooses from: fields whose values are an interval, a range or a choice, in Hydra's grammar."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

from experiments.config import CONF, ConfigError
from experiments.error_words import no_field
from experiments.fields import describe, types

_FIELDS = {row[0] for row in describe()} | {path.name for path in CONF.iterdir()}
_HOLDERS = tuple(f"{name}." for name, kind in types().items() if kind is dict)


class Space(NamedTuple):
    """A search's space.

    Attributes:
      chosen: field → what it is chosen from, a keyword form of one of Optuna's distributions.
      fixed: overrides of every job.
    """

    chosen: dict[str, "Axis"]
    fixed: tuple[str, ...]


class Axis(NamedTuple):
    """What one field is chosen from.

    Attributes:
      kind: ``float``, ``int`` or ``choice``.
      low: least value; of a choice 0.
      high: largest value; of a choice 0.
      log: whether values are chosen evenly in their logarithm.
      step: between two values, or None.
      options: of a choice, as an override writes them.
    """

    kind: str
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    step: float | None = None
    options: tuple[str, ...] = ()


def make_space(arguments: Iterable[str], params: Mapping[str, Any], config_loader: Any = None) -> Space:
    """The space of a search.

    Args:
      arguments: overrides of the command line, which take the place of those of ``params``.
      params: field → value or sweep, of the config.
      config_loader: Hydra's, which knows what ``glob`` finds.

    Raises:
      ConfigError: what is no field, an interval without length or of what is no number, or nothing to choose.

    Example:
      >>> space = make_space(["optimizer.learning_rate=tag(log, interval(0.01,1))", "model.hidden=[64],[32,32]"], {})
      >>> space.chosen["optimizer.learning_rate"]
      Axis(kind='float', low=0.01, high=1.0, log=True, step=None, options=())
      >>> space.chosen["model.hidden"].options
      ('[64]', '[32,32]')
    """
    parser = OverridesParser.create(config_loader=config_loader)
    words = [f"{name}={value}" for name, value in params.items()]
    parsed = {one.get_key_element().lstrip("+~"): one for one in parser.parse_overrides(words)}
    parsed |= {one.get_key_element().lstrip("+~"): one for one in parser.parse_overrides(list(arguments))}
    chosen: dict[str, Axis] = {}
    fixed: list[str] = []
    for name, override in parsed.items():
        if name.partition("@")[0] not in _FIELDS and not name.startswith(_HOLDERS):
            raise ConfigError(no_field(name))
        if override.is_sweep_override():
            chosen[name] = _axis(name, override)
        else:
            fixed.append(str(override.input_line))
    if not chosen:
        raise ConfigError(
            "a search has nothing to choose; give a field an interval, as "
            "'optimizer.learning_rate=tag(log, interval(0.05,1))', a range or a choice."
        )
    return Space(chosen, tuple(fixed))


def _axis(name: str, override: Override) -> Axis:
    value, line = override.value(), override.input_line
    if isinstance(value, IntervalSweep | RangeSweep):
        kind = "int" if types().get(name) is int else "float"
        if types().get(name) not in (int, float):
            raise ConfigError(f"{line} is an interval, but {name} is no number; list its values.")
        low, high = (value.start, value.end) if isinstance(value, IntervalSweep) else (value.start, value.stop)
        step = None if isinstance(value, IntervalSweep) else float(value.step)
        if low is None or high is None or not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ConfigError(f"{line} has no length; give two finite numbers, the smaller one first.")
        if isinstance(value, RangeSweep):  # whose end is not in it
            assert step is not None
            high = low + step * (math.ceil((high - low) / step) - 1)
        log = "log" in value.tags
        if log and (low <= 0 or step is not None):
            raise ConfigError(
                f"{line} can't be logarithmic; give an interval of numbers > 0, or leave tag(log, …) out."
            )
        return Axis(kind, float(low), float(high), log, step)
    return Axis("choice", options=tuple(override.sweep_string_iterator()))


def written(name: str, value: Any) -> str:
    """An override.

    Args:
      name: of the field.
      value: that was chosen.

    Example:
      >>> written("optimizer.learning_rate", 0.25), written("model.hidden", "[64]")
      ('optimizer.learning_rate=0.25', 'model.hidden=[64]')
    """
    return f"{name}={value!r}" if isinstance(value, float) else f"{name}={value}"
