"""A sweep's configs as Hydra composes them, but once for all jobs that choose the same groups."""

import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hydra._internal.config_loader_impl import get_overrides_dirname
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import ValidationError

import experiments.spelling  # noqa: F401  a job's folder is named by its resolver
from experiments.config import CONF
from experiments.fields import describe
from experiments.own_experiment import as_given
from experiments.strict import refuse_no_containers

_FIELDS = {row[0] for row in describe()}
_GROUPS = {path.name for path in CONF.iterdir() if path.is_dir()}
_NODES = {name.partition(".")[0] for name in _FIELDS}


def make_compose(config_loader: Any, master: DictConfig) -> Callable[[Sequence[str]], DictConfig]:
    """A function from a job's overrides to its config, equal to ``config_loader.load_sweep_config(master, overrides)``.

    Hydra takes 70 ms to compose a config and an assignment to a field changes only that field, so the config is
    composed once per choice of groups and then copied: as a pickle, which takes a sixth of the time of ``deepcopy``.
    Whatever else an override may do is left to Hydra.

    Args:
      config_loader: Hydra's.
      master: the sweep's master config.
    """
    parser = OverridesParser.create()
    composed: dict[tuple[str, ...], bytes] = {}

    def compose(overrides: Sequence[str]) -> DictConfig:
        try:
            parsed = parser.parse_overrides(list(overrides))
        except Exception:  # Hydra says what is wrong with it
            return config_loader.load_sweep_config(master, list(overrides))
        groups = [o for o in parsed if chooses(o)]
        values = [o for o in parsed if assigns(o)]
        if len(groups) + len(values) < len(parsed):
            return config_loader.load_sweep_config(master, list(overrides))
        chosen = tuple(str(o.input_line) for o in groups)
        if chosen not in composed:
            composed[chosen] = pickle.dumps(config_loader.load_sweep_config(master, list(chosen)))
        cfg: DictConfig = pickle.loads(composed[chosen])  # nosec B301 # dumped above
        config_loader._apply_overrides_to_config(values, cfg)
        with read_write(cfg.hydra), open_dict(cfg.hydra):
            cfg.hydra.overrides.task = [str(o.input_line) for o in parsed]
            style = cfg.hydra.job.config.override_dirname
            cfg.hydra.job.override_dirname = get_overrides_dirname(
                parsed, kv_sep=style.kv_sep, item_sep=style.item_sep, exclude_keys=style.exclude_keys
            )
        OmegaConf.copy_cache(from_config=master, to_config=cfg)
        return cfg

    return compose


def chooses(override: Override) -> bool:
    """Whether it takes one file of a group, and nothing else.

    Args:
      override: as Hydra parsed it.
    """
    return override.type == OverrideType.CHANGE and override.key_or_group in _GROUPS and _is_plain(override)


def assigns(override: Override) -> bool:
    """Whether it changes, adds or takes away what is no group: a field, or what stands below a node of the schema.

    Args:
      override: as Hydra parsed it.
    """
    name = override.key_or_group
    known = override.type == OverrideType.CHANGE and name in _FIELDS - _GROUPS
    node, dot, _ = name.partition(".")
    return (known or (bool(dot) and node in _NODES)) and _is_plain(override)


def _is_plain(override: Override) -> bool:
    return override.package is None and not override.is_sweep_override() and not override.is_hydra_override()


class Composed(NamedTuple):
    """A job as Hydra composed it, resolved, and not yet looked at."""

    cfg: DictConfig
    folder: Path
    overrides: str


def set_number(composed: DictConfig, index: int) -> None:
    """Give a job its number.

    Args:
      composed: a config with its ``hydra`` node.
      index: the number.
    """
    with read_write(composed.hydra), open_dict(composed.hydra):
        composed.hydra.job.id, composed.hydra.job.num = str(index), index


def as_job(composed: DictConfig, overrides: Sequence[str], index: int) -> Composed:
    """The job that a composed config stands for: numbered, its folder known, its own part resolved.

    Args:
      composed: a config with its ``hydra`` node, which gets the job's number and folder.
      overrides: that made it.
      index: the job's number.
    """
    set_number(composed, index)
    OmegaConf.set_readonly(composed.hydra, True)
    plain = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
    seen: Any = HydraConfig.instance()
    before = seen.cfg
    try:
        seen.cfg = composed  # what its set_config would copy first
        folder = Path(composed.hydra.sweep.dir, composed.hydra.sweep.subdir).absolute()
        OmegaConf.resolve(plain)
    except ValidationError:
        refuse_no_containers(plain)  # whose error names no field
        raise
    finally:
        seen.cfg = before
    with read_write(composed.hydra.runtime), open_dict(composed.hydra.runtime):
        composed.hydra.runtime.output_dir = str(folder)
    return Composed(plain, folder, as_given(" ".join(overrides)))
