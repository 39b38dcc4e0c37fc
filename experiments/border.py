"""Where Hydra ends: its config, looked at as it was composed, becomes the typed one that everything else reads."""

from dataclasses import fields, is_dataclass, replace
from typing import Any

from omegaconf import DictConfig, OmegaConf

from experiments.config import Config
from experiments.fields import types
from experiments.strict import refuse_misfits, refuse_strangers
from experiments.validation import validate


def from_hydra(cfg: DictConfig) -> Config:
    """The typed config of a job that can run.

    Args:
      cfg: as Hydra composed it, with or without its ``hydra`` node.

    Raises:
      ConfigError: the first field that is wrong: one that the schema does not know or that has no value, a number that
        is none, or what can't be run.

    Example:
      >>> from_hydra(OmegaConf.structured(Config)).privacy.epsilon
      1.0
    """
    refuse_strangers(cfg)
    refuse_misfits(cfg)
    typed = as_typed(cfg)
    validate(typed)
    return typed


def as_typed(cfg: DictConfig) -> Config:
    """The same of a config that need not be one that can run, such as that of a whole sweep.

    Args:
      cfg: with every field of the schema.
    """
    made = _made(Config, {spec.name: _plain(cfg, spec.name) for spec in fields(Config)})
    return replace(made, experiment=made.name) if made.name else made


def _plain(cfg: DictConfig, name: str) -> Any:
    """A field or a group of fields, its interpolations resolved where it stands, which takes no copy."""
    value = None if OmegaConf.is_missing(cfg, name) else cfg[name]
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _made(schema: Any, content: Any, prefix: str = "") -> Any:
    made = {}
    for spec in fields(schema):
        value, path = content[spec.name], f"{prefix}{spec.name}"
        if is_dataclass(spec.type):
            value = _made(spec.type, value, f"{path}.")
        elif types()[path] is str and isinstance(value, int | float):  # what an interpolation gave: ${seed}
            value = str(value)
        made[spec.name] = value
    return schema(**made)
