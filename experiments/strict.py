"""A config holds what the schema knows and nothing else, and each of its numbers is one that a program can hold."""

import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from hydra.conf import HydraConf
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import ValidationError

from experiments.config import CONF, Config, ConfigError
from experiments.error_words import must_be, no_field
from experiments.fields import types

LARGEST = 1e18
"""Of the numbers that programs compute with: in float32 a product of two is finite still."""

SMALLEST = 1.2e-38
"""Below it, float32 has zero."""

MOST = 2**31 - 1
"""Of whole numbers, which programs hold in 32 bits."""

SEEDS = 2**32
"""Seeds from here on are those from 0 on again."""

GROUPS = frozenset(path.name for path in CONF.iterdir() if path.is_dir())

_BY_ACCOUNTANTS = ("privacy.epsilon", "privacy.delta")  # which count in float64
_MAY_BE_INFINITE = ("privacy.epsilon",)
_INSTEAD_OF_INFINITE = {"privacy.clip_norm": "; use privacy.epsilon=inf to turn clipping off"}
_FREE = ("sweeper", "launcher", "job_logging", "hydra_logging", "callbacks", "env", "runtime", "overrides")
_OF_SWEEPS = ("hydra.sweeper", "hydra.launcher", "hydra.sweep", "hydra/sweeper", "hydra/launcher")


def refuse_strangers(cfg: DictConfig) -> None:
    """Refuse a config that holds what the schema does not know, or lacks what it knows.

    Raises:
      ConfigError: it names the first such field.
    """
    for path in _strangers(cfg, Config):
        raise ConfigError(no_field(path))
    lacking = [
        (path, isinstance(holder, DictConfig) and name in holder and OmegaConf.is_interpolation(holder, name))
        for path, holder, name in _places(cfg)
        if not isinstance(holder, DictConfig) or name not in holder or OmegaConf.is_missing(holder, name)
    ]
    if lacking:  # what only follows from another field lacks what that one lacks
        path = next((path for path, follows in lacking if not follows), lacking[0][0])
        raise ConfigError(f"{path} has no value; give it one, or leave it at its default.")


def _places(cfg: DictConfig) -> Iterator[tuple[str, Any, str]]:
    """(field, the node that should hold it, its name there): a node is looked up once for all of its fields."""
    holders: dict[str, Any] = {"": cfg}
    for path in types():
        parent, _, name = path.rpartition(".")
        if parent not in holders:
            holders[parent] = OmegaConf.select(cfg, parent)
        yield path, holders[parent], name


def refuse_no_containers(cfg: DictConfig) -> None:
    """Refuse what stands for a list or a mapping and is none.

    Raises:
      ConfigError: it names the first such field.
    """
    for path, holder, name in _places(cfg):
        _held(path, holder, name)


def refuse_misfits(cfg: DictConfig) -> None:
    """Refuse numbers that are none, or that would not be what they are in a program.

    Args:
      cfg: with a value for every field.

    Raises:
      ConfigError: it names the first such field.
    """
    for path, holder, name in _places(cfg):
        kind, value = types()[path], _held(path, holder, name)
        if kind is list and any(isinstance(each, ListConfig | DictConfig) for each in value):
            raise ConfigError(f"{path}={value} is a list of lists; give plain values.")
        for each in value if kind is list else _values_in(value) if kind is dict else [value]:
            wrong = misfit(path, each)
            if wrong:
                raise ConfigError(f"{path}={value} {wrong}.")


def _held(path: str, holder: Any, name: str) -> Any:
    """The value of a field; an interpolation may stand for one of another kind, which nothing else looks at."""
    kind = {list: ListConfig, dict: DictConfig}.get(types()[path])
    try:
        value = holder[name]
    except ValidationError:
        value = None
    if kind is not None and not isinstance(value, kind):
        raise ConfigError(must_be(path))
    return holder[name]


def _values_in(node: Any) -> Iterator[Any]:
    """The names and plain values of a field that may hold names of its own."""
    if isinstance(node, DictConfig | ListConfig):
        for name, value in node.items() if isinstance(node, DictConfig) else enumerate(node):
            yield name
            yield from _values_in(value)
    else:
        yield node


def misfit(path: str, value: Any) -> str | None:
    """What is wrong with a value, as the end of a sentence that begins with it; None: nothing.

    Args:
      path: of its field.
      value: a number, a text, a truth or None.

    Example:
      >>> misfit("privacy.clip_norm", math.inf)
      'must be finite; use privacy.epsilon=inf to turn clipping off'
    """
    if isinstance(value, str):
        shown = value.replace("\n", "").replace("\t", "")
        return None if shown.isprintable() else "holds what can't be printed; leave that out"
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, int):
        most = SEEDS - 1 if path == "seed" else MOST
        return None if -MOST <= value <= most else f"is too large a number; give at most {most}"
    if math.isnan(value):
        return "is not a number; give it a value"
    if math.isinf(value):
        fix = _INSTEAD_OF_INFINITE.get(path, "; give it a value")
        return None if path in _MAY_BE_INFINITE else f"must be finite{fix}"
    if path in _BY_ACCOUNTANTS or value == 0:
        return None
    if abs(value) > LARGEST:
        return f"is more than float32 can compute with; give at most {LARGEST:g}"
    return f"is below {SMALLEST:g}, where float32 has zero; give a larger number" if abs(value) < SMALLEST else None


def refuse_choices(hydra: Any, *, sweep: bool) -> None:
    """Refuse what was asked of Hydra and would be passed over: several files of one group, and settings nobody reads.

    Args:
      hydra: Hydra's own config of the job.
      sweep: whether it is a job of a sweep.

    Raises:
      ConfigError: it names the first such setting.
    """
    given: Any = OmegaConf.to_container(hydra.overrides, resolve=False)  # their texts, whatever these would become
    for override in given["task"]:
        name, _, choice = override.lstrip("+").partition("=")
        if name.startswith("~"):
            raise ConfigError(f"{name[1:]} can't be taken away, as every field is needed; choose another, or a value.")
        if name in GROUPS and choice.startswith("["):
            raise ConfigError(f"{override} chooses several files of one group; take one, or sweep them: {name}=A,B.")
    for path in _strangers(hydra, HydraConf, "hydra."):
        raise ConfigError(f"{path} is none of Hydra's settings; see --hydra-help, and --help for those of a run.")
    for override in given["hydra"]:
        name = override.lstrip("+~").partition("=")[0]
        if not sweep and name.startswith(_OF_SWEEPS):
            raise ConfigError(f"{override} is read by sweeps only; add -m, or leave it out.")
        if sweep and name.startswith("hydra.run."):
            raise ConfigError(f"{override} is read by single runs only; use results_dir=FOLDER, or leave it out.")


def _strangers(cfg: DictConfig, schema: Any, prefix: str = "") -> Iterator[str]:
    """What the node holds and the schema lacks."""
    known = {spec.name: spec.type for spec in fields(schema)}
    for key in cfg:
        name = str(key)
        if (prefix == "hydra." and name in _FREE) or (prefix == "" and name == "hydra"):
            continue
        if name not in known:
            yield prefix + name
        else:
            kind, value = known.get(name), cfg._get_node(name)
            if isinstance(kind, type) and is_dataclass(kind) and isinstance(value, DictConfig):
                yield from _strangers(value, kind, f"{prefix}{name}.")
