"""What PEFT's adapter_config.json says, by PEFT's own rules: rank and scale of each adapter, and where it sits."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from dpjax.models.pretrained.tensor_files import CheckpointError, read_json
from dpjax.models.transformers.config_fields import shown

_HARMLESS = {
    *("peft_type", "task_type", "base_model_name_or_path", "revision", "inference_mode", "auto_mapping"),
    *("peft_version", "lora_dropout", "fan_in_fan_out", "megatron_core", "loftq_config", "eva_config", "corda_config"),
    *("lora_ga_config", "runtime_config", "qalora_group_size", "init_lora_weights", "init_ia3_weights"),
}
"""What changes no number after training. ``fan_in_fan_out`` follows from the kind of layer: PEFT sets it right."""

_STARTS = (True, False, None, "gaussian", "orthogonal", "eva")
"""Values of ``init_lora_weights`` that leave the base as it is; the others take the adapter's start out of it."""


@dataclass(frozen=True)
class AdapterConfig:
    """A LoRA, a DoRA or an IA³ as PEFT describes it.

    Attributes:
      path: of the file, for errors.
      kind: ``peft_type``: ``"LORA"`` or ``"IA3"``.
      dora: the sum of matrix and adapter has a trained length for each output.
      inputs: names, ends of them, or one expression of what IA³ scales the input of; None: not said.
      task: ``task_type``, such as ``"SEQ_CLS"``; None: not said.
      base: ``base_model_name_or_path``.
      rank, alpha: of every adapter that no pattern is about.
      ranks, alphas: patterns (regular expressions of a module's name, or of its end) → another rank or alpha.
      root: the scale is alpha / √rank (rsLoRA) instead of alpha / rank.
      biased: adapters have biases of their own.
      biases: biases of the base that were trained: ``"none"``, ``"all"`` or ``"lora_only"``.
      saved: modules of the base that were trained whole.
      targets, excluded: module names, ends of them, or one regular expression.
      layers: numbers of the layers with adapters; None: all.
      layers_in: what a layer's number stands behind; (): anything.
    """

    path: Path
    kind: str
    dora: bool
    inputs: str | tuple[str, ...] | None
    task: str | None
    base: str | None
    rank: int
    alpha: float
    ranks: Mapping[str, int]
    alphas: Mapping[str, float]
    root: bool
    biased: bool
    biases: str
    saved: tuple[str, ...]
    targets: str | tuple[str, ...] | None
    excluded: str | tuple[str, ...]
    layers: tuple[int, ...] | None
    layers_in: tuple[str, ...]

    def rank_of(self, module: str) -> int:
        """Rank of the adapter on a module, named as in the base model."""
        return _by_pattern(self.ranks, module, self.rank)

    def scale_of(self, module: str) -> float:
        """What its product is multiplied by."""
        rank = self.rank_of(module)
        return _by_pattern(self.alphas, module, self.alpha) / (math.sqrt(rank) if self.root else rank)

    def is_target(self, module: str) -> bool:
        """Whether PEFT puts an adapter on a module."""
        if _named(self.excluded, module) or self.is_saved(module):
            return False
        if self.targets is None or self.targets == "all-linear":
            return True
        return _named(self.targets, module) and self._in_layers(module)

    def is_scaled_before(self, module: str) -> bool:
        """Whether IA³ scales a module's input, and not its output."""
        if isinstance(self.inputs, str):
            return re.fullmatch(self.inputs, module) is not None
        return any(module.endswith(name) for name in self.inputs or ())

    def is_saved(self, module: str) -> bool:
        """Whether a module was trained whole."""
        return any(re.match(rf"(^|.*\.){name}($|\..*)", module) for name in self.saved)

    def _in_layers(self, module: str) -> bool:
        if self.layers is None or module in (self.targets or ()):
            return True
        for inside in self.layers_in or (None,):
            pattern = r".*?\.[^.]*\.(\d+)\." if inside is None else rf"(?:^|.*?\.){inside}\.(\d+)\."
            match = re.match(pattern, module)
            if match:
                return int(match[1]) in self.layers
        return False


def read_adapter_config(path: Path) -> AdapterConfig:
    """Reads an ``adapter_config.json``.

    Formal guarantees: no field which changes a number is passed over: what is neither computed here nor known to be
    harmless must be absent, null, false or empty.

    Raises:
      CheckpointError: not there, damaged, another kind of adapter, or a field that is not computed; it is named.
    """
    config = read_json(path)
    kind = config.get("peft_type")
    if kind not in ("LORA", "IA3"):
        raise CheckpointError(
            f"{path}: peft_type is {shown(kind)}, but dpjax reads LORA, IA3, PROMPT_TUNING and PREFIX_TUNING; convert "
            "the adapter to one of them."
        )
    known = Known(config, path)
    start = config.get("init_lora_weights")
    if not any(start is each or (isinstance(each, str) and start == each) for each in _STARTS):
        known.refuse(
            "init_lora_weights", "which takes the adapter's start out of the base; convert it to plain LoRA in PEFT"
        )
    read = AdapterConfig(
        path=path,
        kind=kind,
        dora=known.flag("use_dora"),
        inputs=known.names_or_pattern("feedforward_modules") if kind == "IA3" else None,
        task=known.text("task_type"),
        base=known.text("base_model_name_or_path"),
        rank=known.rank("r", known.take("r", 8)),
        alpha=known.number("lora_alpha", known.take("lora_alpha", 8)),
        ranks={name: known.rank("rank_pattern", value) for name, value in known.patterns("rank_pattern")},
        alphas={name: known.number("alpha_pattern", value) for name, value in known.patterns("alpha_pattern")},
        root=known.flag("use_rslora"),
        biased=known.flag("lora_bias"),
        biases=known.one_of("bias", "none", "all", "lora_only"),
        saved=known.names("modules_to_save") or (),
        targets=known.names_or_pattern("target_modules"),
        excluded=known.names_or_pattern("exclude_modules") or (),
        layers=known.numbers("layers_to_transform"),
        layers_in=known.names("layers_pattern") or (),
    )
    known.refuse_the_rest(_HARMLESS, "merge the adapter into its base in PEFT")
    if read.dora and read.biased:
        known.refuse("lora_bias", "but with use_dora PEFT computes no bias of an adapter; take the adapter anew")
    return read


class Known:
    """The fields that are computed, each checked when it is read.

    Args:
      config: the whole file.
      path: of it, for errors.
    """

    def __init__(self, config: Mapping[str, Any], path: Path):
        self.config, self.path, self.taken = config, path, set[str]()

    def refuse(self, field: str, why: str) -> NoReturn:
        """Raises a ``CheckpointError`` that names file, field and value."""
        raise CheckpointError(f"{self.path}: {field} is {shown(self.config.get(field))}, {why}.")

    def refuse_the_rest(self, harmless: Iterable[str], instead: str) -> None:
        """Raises where a field says something that was not asked for and that is not known to be harmless."""
        for field, value in self.config.items():
            if field not in self.taken and field not in harmless and value:
                self.refuse(field, f"which dpjax does not compute; {instead}")

    def take(self, field: str, usual: Any = None) -> Any:
        """A field's value, or the usual one where it is absent."""
        self.taken.add(field)
        return self.config.get(field, usual)

    def rank(self, field: str, value: Any) -> int:
        """A whole number of at least 1."""
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 2**31:
            self.refuse(field, "but a rank must be a whole number of at least 1; take the adapter anew")
        return value

    def number(self, field: str, value: Any) -> float:
        """A number."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e30:
            self.refuse(field, "but must be a number; take the adapter anew")
        return float(value)

    def flag(self, field: str) -> bool:
        """True or false."""
        value = self.take(field, False)
        if not isinstance(value, bool):
            self.refuse(field, "but must be true or false; take the adapter anew")
        return value

    def text(self, field: str) -> str | None:
        """A word or null."""
        value = self.take(field)
        if value is not None and not isinstance(value, str):
            self.refuse(field, "but must be a word or null; take the adapter anew")
        return value

    def one_of(self, field: str, *choices: str) -> str:
        """One of some words."""
        value = self.take(field, choices[0])
        if value not in choices:
            self.refuse(field, f"but must be one of {', '.join(choices)}; take the adapter anew")
        return value

    def names(self, field: str) -> tuple[str, ...] | None:
        """A list of names, each of which PEFT takes for a regular expression; null: none."""
        value = self.take(field)
        if field == "layers_pattern" and isinstance(value, str):
            value = [value] if value else []
        if value is not None and not (isinstance(value, list) and all(isinstance(each, str) for each in value)):
            self.refuse(field, "but must be a list of names or null; take the adapter anew")
        for each in value or ():
            self._compiled(field, each)
        return None if value is None else tuple(value)

    def names_or_pattern(self, field: str) -> str | tuple[str, ...] | None:
        """A list of names, or one regular expression."""
        value = self.config.get(field)
        if isinstance(value, str):
            self.taken.add(field)
            self._compiled(field, value)
            return value
        return self.names(field)

    def numbers(self, field: str) -> tuple[int, ...] | None:
        """Whole numbers, one or a list; null: none."""
        value = self.take(field)
        listed = [value] if isinstance(value, int) else value
        if listed is not None and not (
            isinstance(listed, list) and all(isinstance(each, int) and not isinstance(each, bool) for each in listed)
        ):
            self.refuse(field, "but must be whole numbers or null; take the adapter anew")
        return tuple(listed) if listed else None

    def patterns(self, field: str) -> list[tuple[str, Any]]:
        """Pairs of an object whose names are regular expressions."""
        value = self.take(field)
        if value is not None and not isinstance(value, dict):
            self.refuse(field, "but must be an object; take the adapter anew")
        for each in value or ():
            self._compiled(field, each)
        return list((value or {}).items())

    def _compiled(self, field: str, pattern: str) -> None:
        try:
            re.compile(pattern)
        except (re.error, RecursionError, OverflowError):
            self.refuse(field, f"and {shown(pattern)} is no regular expression; take the adapter anew")


def _by_pattern[T](patterns: Mapping[str, T], module: str, usual: T) -> T:
    """The first pattern that is a module's name, or the end of it after a dot."""
    return next((value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", module)), usual)


def _named(names: str | tuple[str, ...], module: str) -> bool:
    if isinstance(names, str):
        return bool(names) and re.fullmatch(names, module) is not None
    return any(module == name or module.endswith(f".{name}") for name in names)
