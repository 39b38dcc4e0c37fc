"""The points of a sweep: those that differ in plain values alone are made from one that Hydra composed."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from hydra._internal.config_loader_impl import get_overrides_dirname
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from experiments.config import Config
from experiments.fields import types
from experiments.launching.compose import as_job, assigns, chooses, set_number
from experiments.own_experiment import as_given
from experiments.spelling import job_dir
from experiments.strict import misfit, refuse_choices
from experiments.task import Task

Compose = Callable[[Sequence[str]], DictConfig]
_PLAIN = (int, float, str, bool)
_INTERPOLATED = "${"
_NAMED = "${job_dir:${hydra:job.override_dirname}}"
"""The pattern of a job's folder in conf/config.yaml, which takes a parser of its own a millisecond to read."""


class Point(NamedTuple):
    """A job that can run, and how Hydra composes it, for whom that is still to be done.

    Attributes:
      cfg: its config.
      folder: its own.
      overrides: that made it, as a row holds them.
      choices: group → the file that was chosen of it.
    """

    cfg: Config
    folder: Path
    overrides: str
    choices: Mapping[str, Any]


class _Like(NamedTuple):
    """A point that was composed, for those that differ from it in plain values.

    Attributes:
      point: it.
      scratch: its config as Hydra's; values are set in it to see what they become.
      values: override → what its field becomes.
      style: how the overrides of a job are written as one name, as ``get_overrides_dirname`` takes it.
      above: the folder of the sweep, if jobs have folders of their overrides' names in it; None: of another pattern.
    """

    point: Point
    scratch: DictConfig
    values: dict[str, Any]
    style: dict[str, Any]
    above: Path | None


def make_points(config_loader: Any, compose: Compose, task: Task) -> Callable[[Sequence[str], int], Point]:
    """A function from a job's overrides and its number to its point.

    Formal guarantees: a point is what ``as_job`` and ``task.typed`` make of the config that ``compose`` gives, which
    takes 10 ms and more. Of jobs that choose the same files and assign the same fields the first is made so; in the
    others a field is replaced that holds one number, text or truth and that no interpolation of the whole config names.
    Whatever else an override may do, and whatever is refused, is left to ``compose``.

    Args:
      config_loader: Hydra's.
      compose: from ``make_compose``.
      task: whose ``typed`` and ``checked`` say what can run.
    """
    parser = OverridesParser.create()
    parsed: dict[str, Override] = {}
    named: dict[tuple[str, ...], frozenset[str] | None] = {}
    likes: dict[tuple[str, ...], _Like] = {}

    def parse(override: str) -> Override:
        if override not in parsed:
            (parsed[override],) = parser.parse_overrides([override])
        return parsed[override]

    def whole(overrides: Sequence[str], index: int) -> tuple[Point, DictConfig]:
        composed = compose(overrides)
        set_number(composed, index)  # which the pattern of a folder may name
        refuse_choices(composed.hydra, sweep=True)
        job = as_job(composed, overrides, index)
        return Point(task.typed(job.cfg), job.folder, job.overrides, composed.hydra.runtime.choices), composed

    def point(overrides: Sequence[str], index: int) -> Point:
        try:
            each = [parse(override) for override in overrides]
        except Exception:  # Hydra says what is wrong with it
            return whole(overrides, index)[0]
        names = [str(one.key_or_group) for one in each]
        if (
            not all(chooses(one) or assigns(one) for one in each)
            or len(set(names)) < len(names)
            or _INTERPOLATED in "".join(overrides)
        ):
            return whole(overrides, index)[0]
        groups = tuple(str(one.input_line) for one in each if chooses(one))
        if groups not in named:
            named[groups] = _named_by_interpolations(compose(groups))
        others = named[groups]
        free = [one for one in each if others is not None and _is_free(one, others)]
        key = tuple(str(one.key_or_group if one in free else one.input_line) for one in each)
        like = likes.get(key)
        if like is None:
            made, composed = whole(overrides, index)
            likes[key] = _like(made, composed)
            return made
        cfg = like.point.cfg
        for one in free:
            line, name = str(one.input_line), str(one.key_or_group)
            if line not in like.values:
                config_loader._apply_overrides_to_config([one], like.scratch)
                like.values[line] = OmegaConf.select(like.scratch, name)
            if misfit(name, like.values[line]):
                return whole(overrides, index)[0]
            cfg = _with(cfg, name.split("."), like.values[line])
        task.checked(cfg)
        return Point(cfg, _folder(like, each, index), as_given(" ".join(overrides)), like.point.choices)

    return point


def _is_free(override: Override, others: frozenset[str]) -> bool:
    """Whether it sets one plain value that decides no other."""
    name = str(override.key_or_group)
    parts = name.split(".")
    above = {".".join(parts[: i + 1]) for i in range(len(parts))}
    changes = override.type == OverrideType.CHANGE and assigns(override)
    return changes and types().get(name) in _PLAIN and not above & others


def _named_by_interpolations(composed: DictConfig) -> frozenset[str] | None:
    """Fields that others are made of; None where some may be meant that are not named in full."""
    texts: list[str] = []

    def walk(node: Any) -> None:
        if isinstance(node, str):
            texts.append(node)
        for value in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            walk(value)

    walk(OmegaConf.to_container(composed, resolve=False))
    found = [name for text in texts for name in re.findall(r"\$\{\s*([^\s:{}]*)", text)]
    return None if any(name.startswith(".") or "[" in name or not name for name in found) else frozenset(found)


def _with(cfg: Any, path: Sequence[str], value: Any) -> Any:
    """A config with another value of one field."""
    first, *rest = path
    return replace(cfg, **{first: _with(getattr(cfg, first), rest, value) if rest else value})


def _like(point: Point, composed: DictConfig) -> _Like:
    style: Any = OmegaConf.to_container(composed.hydra.job.config.override_dirname)
    pattern: Any = OmegaConf.to_container(composed.hydra.sweep, resolve=False)
    is_usual = pattern["subdir"] == _NAMED and "hydra" not in pattern["dir"]
    return _Like(point, composed, {}, style, point.folder.parent if is_usual else None)


def _folder(like: _Like, overrides: Sequence[Override], index: int) -> Path:
    """The folder of a job of these overrides."""
    name = get_overrides_dirname(list(overrides), **like.style)
    if like.above is not None:
        return like.above / job_dir(name)
    hydra = like.scratch.hydra
    with read_write(hydra), open_dict(hydra):
        hydra.job.id, hydra.job.num, hydra.job.override_dirname = str(index), index, name
    seen: Any = HydraConfig.instance()
    before = seen.cfg
    try:
        seen.cfg = like.scratch
        return Path(hydra.sweep.dir, hydra.sweep.subdir).absolute()
    finally:
        seen.cfg = before
