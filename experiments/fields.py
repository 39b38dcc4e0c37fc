"""The fields of the config by their names: for sentences, tables, and whoever goes through all of them."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, get_args

from experiments.config import Config


def value_of(cfg: Config, path: str) -> Any:
    """The value of a field by its name, for sentences and tables of fields; code reads the attribute.

    Example:
      >>> value_of(Config(), "privacy.epsilon")
      1.0
    """
    value: Any = cfg
    for part in path.split("."):
        value = getattr(value, part)
    return value


def as_dict(node: Any) -> dict[str, Any]:
    """A config as nested dictionaries, in the order of its fields.

    Example:
      >>> from experiments.config import CorruptionConf
      >>> as_dict(CorruptionConf())
      {'name': 'none', 'fraction': 0.1, 'factor': None}
    """
    return {name: as_dict(value) if is_dataclass(value) else value for name, value in vars(node).items()}


def hparams_in(cfg: Config) -> dict[str, float]:
    """The fields of ``HParams`` that stand in a config as they are.

    Example:
      >>> sorted(hparams_in(Config()))[:3]
      ['client_learning_rate', 'dropout_rate', 'learning_rate']
    """
    return {spec.name: value_of(cfg, path) for path, spec in specs(Config) if spec.metadata.get("hparam")}


@cache
def types() -> Mapping[str, Any]:
    """Field → ``int``, ``float``, ``str``, ``bool``, ``list`` for lists of them, or ``dict`` for what names its own."""
    return MappingProxyType({path: _kind(spec.type) for path, spec in specs(Config)})


def _kind(annotation: Any) -> Any:
    if (origin := getattr(annotation, "__origin__", None)) in (list, dict):
        return origin
    kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
    return kinds[0] if kinds else annotation


def describe() -> list[tuple[str, Any, str, str]]:
    """(field, default, "traced" or "static", meaning) of every field, for help texts and docs."""
    default = Config()
    return [
        (path, value_of(default, path), "traced" if spec.metadata["traced"] else "static", spec.metadata["meaning"])
        for path, spec in specs(Config)
    ]


def leaves() -> list[tuple[str, bool]]:
    """(path, whether it is traced) of every field."""
    return [(path, spec.metadata["traced"]) for path, spec in specs(Config)]


def specs(node: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """(path, dataclass field) of every field that holds a value."""
    leaves: list[tuple[str, Any]] = []
    for spec in fields(node):
        path = prefix + spec.name
        leaves += specs(spec.type, f"{path}.") if is_dataclass(spec.type) else [(path, spec)]
    return leaves


DEFAULTS: dict[str, Any] = {path: default for path, default, _, _ in describe()}
"""Field → what it is if nobody sets it."""
