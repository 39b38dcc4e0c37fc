"""Who reads a field: one table of what a run must be for each field to say anything in it.

A field that is set, and that nothing in the run reads, is refused: its value would stand in the config of a run that it
had no part in.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from experiments.config import SHARED_NOISE, Config, ConfigError
from experiments.fields import DEFAULTS, as_dict, value_of
from experiments.presets import preset


class When(NamedTuple):
    """What must be so for a field to be read.

    Attributes:
      says: it, as one would write it on a command line.
      holds: whether it is so in a config.
      of: the fields that decide it.
    """

    says: str
    holds: Callable[[Config], bool]
    of: tuple[str, ...]


def _is(field: str, *values: str) -> When:
    reason = f"{field}={' or '.join(values)}"
    return When(reason, lambda cfg: value_of(cfg, field) in values, (field,))


def _is_not(field: str, value: Any) -> When:
    reason = f"another {field} than {value}"
    return When(reason, lambda cfg: value_of(cfg, field) != value, (field,))


def _has_hook(cfg: Config, hook: str) -> bool:
    if not cfg.plugin:
        return False
    from experiments.plugins import load_plugin  # jax, which no other config needs here

    return hasattr(load_plugin(cfg.plugin), hook)


ALWAYS: tuple[When, ...] = ()
_PRIVATE = When("a finite privacy.epsilon", lambda cfg: cfg.privacy.is_private, ("privacy.epsilon",))
_CENTRAL = When("central training", lambda cfg: not cfg.is_federated, ("federated.clients_per_round",))
_FEDERATED = When("federated.clients_per_round", lambda cfg: cfg.is_federated, _CENTRAL.of)
_OWN_RULE = When(
    "a plugin without a clipping_rule of its own",
    lambda cfg: cfg.clipping.name == "adaptive" or not _has_hook(cfg, "clipping_rule"),
    ("plugin", "clipping.name"),
)
_OWN_SAMPLER = When(
    "a plugin without a make_sampler of its own", lambda cfg: not _has_hook(cfg, "make_sampler"), ("plugin",)
)
_OWN_OPTIMIZER = When(
    "a plugin without a make_optimizer of its own", lambda cfg: not _has_hook(cfg, "make_optimizer"), ("plugin",)
)
_OWN_MODEL = When("a plugin without a make_model of its own", lambda cfg: not _has_hook(cfg, "make_model"), ("plugin",))
_MOMENTUM = When(
    "optimizer.name=sgd",
    lambda cfg: cfg.optimizer.name == "sgd" or _has_hook(cfg, "make_optimizer"),
    ("optimizer.name", "plugin"),
)
_DECAYED = When(
    "optimizer.name=adamw",
    lambda cfg: cfg.optimizer.name == "adamw" or _has_hook(cfg, "make_optimizer"),
    ("optimizer.name", "plugin"),
)
_SQUARES = _is("optimizer.name", "adam", "adamw", "adam_corrected", "yogi")
_OWN = (_is("data.name", "own"),)
_RELEASED = When("data.release", lambda cfg: bool(cfg.data.release), ("data.release",))
_TOKENS = When("data.tokens=COLUMN", lambda cfg: bool(cfg.data.tokens), ("data.tokens",))
_TEXTS = _is("model.name", "pretrained")
_CLASSES = _is("model.task", "classify")
_SYNTHETIC = _is("model.task", "synthetic")
_CAUSAL = _is("model.task", "causal")
_TEXT_COLUMN = When("data.text=[COLUMN]", lambda cfg: bool(cfg.data.text), ("data.text",))
_PLANTED = (_TEXTS, _CAUSAL, When("data.canaries", lambda cfg: cfg.data.canaries > 0, ("data.canaries",)))
_LORA = (_TEXTS, _is("tuning.name", "lora", "dora"))
_WHOLE = When(
    "tuning.cache_features=false, or a tuning that needs the model at each step",
    lambda cfg: not (cfg.tuning.name == "head" and cfg.tuning.cache_features and cfg.model.task == "classify"),
    ("tuning.name", "tuning.cache_features", "model.task"),
)
_LOCAL = (_FEDERATED, _is_not("federated.algorithm", "fedsgd"))
_STEPS = When(
    "federated.local_epochs=null", lambda cfg: cfg.federated.local_epochs is None, ("federated.local_epochs",)
)
_BATCHES = _is_not("privacy.noise", "inside_clients")
_PROX = (_FEDERATED, _is("federated.algorithm", "fedprox"))
_PERSONAL = (_FEDERATED, _is("federated.algorithm", "personalized"))
_SECURE = (_FEDERATED, _is("federated.aggregation", "secure"))
_NUMBERED = _is_not("federated.partition", "natural")
_CORRUPTED = _is_not("federated.corruption.name", "none")
_INSIDE = (_FEDERATED, _is("privacy.noise", "inside_clients"))
_IN_PARTS = _is("engine", "auto", "bookkeeping", "microbatch")
_LEADERBOARD = When(
    "an experiment that is named after it",
    lambda cfg: bool(cfg.task) and cfg.experiment.endswith(cfg.task),
    ("experiment",),
)

READ_WHEN: dict[str, tuple[When, ...]] = {
    "experiment": ALWAYS,
    "name": ALWAYS,
    "method": ALWAYS,
    "task": (_LEADERBOARD,),
    "data.name": ALWAYS,
    "data.path": _OWN,
    "data.label": _OWN,
    "data.text": _OWN,
    "data.messages": _OWN,
    "data.tokens": _OWN,
    "data.padding": (*_OWN, _TOKENS),
    "data.mask": (*_OWN, _TOKENS),
    "data.size": _OWN,
    "data.channels": _OWN,
    "data.unit": _OWN,
    "data.split": _OWN,
    "data.split_column": _OWN,
    "data.split_at": _OWN,
    "data.encoding": _OWN,
    "data.decimal": _OWN,
    "data.columns": _OWN,
    "data.missing": _OWN,
    "data.classes": (*_OWN, _is("data.target", "class")),
    "data.target": _OWN,
    "data.target_range": (*_OWN, _is("data.target", "number")),
    "data.on_disk": _OWN,
    "data.release": _OWN,
    "data.release_noise_multiplier": (*_OWN, _RELEASED),
    "data.release_seed": (*_OWN, _RELEASED),
    "data.raw": _OWN,
    "data.owners": (*_OWN, _is("data.raw", "documents")),
    "data.quotes": (*_OWN, _is("data.raw", "mailbox")),
    "data.piece_words": (*_OWN, _TEXT_COLUMN),
    "data.pseudonymise": (*_OWN, _TEXT_COLUMN),
    "data.canaries": (_TEXTS, _CAUSAL),
    "data.canary_repetitions": _PLANTED,
    "data.canary_form": _PLANTED,
    "data.canary_candidates": _PLANTED,
    "data.canary_seed": _PLANTED,
    "data.validation": ALWAYS,
    "data.num_train": ALWAYS,
    "data.num_evaluated": ALWAYS,
    "model.name": (_OWN_MODEL,),
    "model.hidden": (_is("model.name", "mlp", "text"), _OWN_MODEL),
    "model.activation": (_is("model.name", "mlp", "cnn", "text"), _OWN_MODEL),
    "model.groups": (_is("model.name", "scattering"),),
    "model.context": (_is("model.name", "text"),),
    "model.embedding": (_is("model.name", "text"),),
    "model.checkpoint": (_TEXTS,),
    "model.task": (_TEXTS,),
    "model.beta": (_TEXTS, _is("model.task", "preference")),
    "model.max_length": (_TEXTS,),
    "model.num_lengths": (_TEXTS,),
    "model.pooling": (_TEXTS, _is("model.task", "classify", "synthetic")),
    "model.dtype": (_TEXTS,),
    "model.frozen_dtype": (_TEXTS, _WHOLE),
    "model.recompute": (_TEXTS, _WHOLE),
    "model.scan_layers": (_TEXTS, _WHOLE),
    "tuning.name": (_TEXTS,),
    "tuning.rank": _LORA,
    "tuning.alpha": _LORA,
    "tuning.targets": _LORA,
    "tuning.freeze_a": _LORA,
    "tuning.last_layers": (_TEXTS, _is("tuning.name", "last")),
    "tuning.length": (_TEXTS, _is("tuning.name", "prompt", "prefix")),
    "tuning.cache_features": (_TEXTS, _CLASSES, _is("tuning.name", "head")),
    "synthesis.instruction": (_TEXTS, _SYNTHETIC),
    "synthesis.classes": (_TEXTS, _SYNTHETIC),
    "synthesis.num_texts": (_TEXTS, _SYNTHETIC),
    "synthesis.num_tokens": (_TEXTS, _SYNTHETIC),
    "synthesis.temperature": (_TEXTS, _SYNTHETIC),
    "synthesis.top_p": (_TEXTS, _SYNTHETIC),
    "synthesis.checkpoint": (_TEXTS, _SYNTHETIC),
    # A run without privacy says so in its row, and is what a sweep's private points are compared with: what privacy
    # alone reads may stay, but for noise that was asked for by its amount.
    "privacy.epsilon": ALWAYS,
    "privacy.noise_multiplier": (_PRIVATE,),
    "privacy.delta": ALWAYS,
    "privacy.clip_norm": ALWAYS,
    "privacy.records_per_unit": ALWAYS,
    "privacy.adjacency": ALWAYS,
    "privacy.accountant": ALWAYS,
    "privacy.noise": ALWAYS,
    "privacy.factorization": (_is("privacy.noise", "correlated"),),
    "privacy.bands": (_is("privacy.noise", "correlated"), _is("privacy.factorization", "banded")),
    "privacy.colluding": (_is("privacy.noise", *SHARED_NOISE),),
    "privacy.secret_cohorts": (_is("privacy.noise", *SHARED_NOISE),),
    "clipping.name": (_OWN_RULE,),
    "clipping.stability": (_is("clipping.name", "automatic"), _OWN_RULE),
    "clipping.target_quantile": (_is("clipping.name", "adaptive"),),
    "clipping.learning_rate": (_is("clipping.name", "adaptive"),),
    "clipping.count_stddev": (_is("clipping.name", "adaptive"),),
    "optimizer.name": (_OWN_OPTIMIZER,),
    "optimizer.learning_rate": ALWAYS,
    "optimizer.momentum": (_MOMENTUM,),
    "optimizer.weight_decay": (_DECAYED,),
    "optimizer.second_decay": (_SQUARES, _OWN_OPTIMIZER),
    "optimizer.adaptivity": (_SQUARES, _OWN_OPTIMIZER),
    "optimizer.warmup_steps": (_OWN_OPTIMIZER,),
    "optimizer.decay": (_OWN_OPTIMIZER,),
    "optimizer.ema": (_OWN_OPTIMIZER,),
    "optimizer.num_steps": ALWAYS,
    "optimizer.sampling": (_OWN_SAMPLER,),
    "optimizer.sampling_rate": (_CENTRAL,),
    "optimizer.evaluate_every": ALWAYS,
    "federated.clients_per_round": ALWAYS,
    "federated.num_clients": (_FEDERATED, _NUMBERED),
    "federated.algorithm": (_FEDERATED,),
    "federated.partition": (_FEDERATED,),
    "federated.alpha": (_FEDERATED, _is("federated.partition", "dirichlet", "quantity", "sampled")),
    "federated.shards_per_client": (_FEDERATED, _is("federated.partition", "shards")),
    "federated.records_per_client": (_FEDERATED, _is("federated.partition", "sampled", "natural")),
    "federated.num_buckets": (_FEDERATED,),
    "federated.weights": (_FEDERATED,),
    "federated.client_ranks": (_FEDERATED, *_LORA),
    "federated.local_steps": (*_LOCAL, _STEPS),
    "federated.local_epochs": _LOCAL,
    "federated.local_batch_size": (*_LOCAL, _BATCHES),
    "federated.client_learning_rate": _LOCAL,
    "federated.proximal": _PROX,
    "federated.adaptive_proximal": _PROX,
    "federated.personal": _PERSONAL,
    "federated.head_steps": _PERSONAL,
    "federated.straggler_rate": _LOCAL,
    "federated.dropout_rate": (_FEDERATED,),
    "federated.aggregation": (_FEDERATED,),
    "federated.threshold": _SECURE,
    "federated.bits": _SECURE,
    "federated.levels": _SECURE,
    "federated.masks": _SECURE,
    "federated.robust": (_FEDERATED,),
    "federated.robust_fraction": (_FEDERATED, _is("federated.robust", "trimmed_mean", "krum", "multi_krum")),
    "federated.corruption.name": (_FEDERATED,),
    "federated.corruption.fraction": (_FEDERATED, _CORRUPTED),
    "federated.corruption.factor": (_FEDERATED, _is("federated.corruption.name", "scaled", "sign_flipped")),
    "federated.compression.name": (_FEDERATED,),
    "federated.compression.bits": (_FEDERATED, _is("federated.compression.name", "quantized")),
    "federated.compression.fraction": (_FEDERATED, _is("federated.compression.name", "random_k", "top_k", "sketch")),
    "federated.compression.error_feedback": (_FEDERATED, _is("federated.compression.name", "top_k")),
    "federated.local_sampling_rate": _INSIDE,
    "federated.noise_cohort": (_FEDERATED,),
    "tracker.name": ALWAYS,
    "tracker.project": (_is("tracker.name", "wandb"),),
    "tracker.entity": (_is("tracker.name", "wandb"),),
    "tracker.mode": (_is("tracker.name", "wandb"),),
    "tracker.group": (_is("tracker.name", "wandb"),),
    "governance.name": ALWAYS,
    "governance.ledger": (_is("governance.name", "local"),),
    "governance.seal": (_is("governance.name", "local"),),
    "plugin": ALWAYS,
    "num_seeds": ALWAYS,
    "seed": ALWAYS,
    "engine": ALWAYS,
    "microbatch_size": (_IN_PARTS,),
    "lanes": ALWAYS,
    "save_model": ALWAYS,
    "figures": ALWAYS,
    "checkpoint_seconds": ALWAYS,
    "resume": ALWAYS,
    "notify": ALWAYS,
    "results_dir": ALWAYS,
}
"""Field → all that must be so for a run to read it. A field that is not here is refused by the tests."""


def unread(cfg: Config) -> dict[str, str]:
    """The fields that are set and that nothing in the run reads, each with the sentence that says so.

    Args:
      cfg: a config that is valid otherwise.

    Example:
      >>> from experiments.config import Config, PrivacyConf
      >>> unread(Config(privacy=PrivacyConf(bands=5)))["privacy.bands"]
      'privacy.bands=5 is read only with privacy.noise=correlated; set that, or leave it at null.'
    """
    reasons = {}
    for name, conditions in READ_WHEN.items():
        value = value_of(cfg, name)
        if value == DEFAULTS[name]:
            continue
        lacking = [when.says for when in conditions if not when.holds(cfg)]
        if lacking:
            reasons[name] = (
                f"{name}={value} is read only with {' and '.join(lacking)}; set that, or leave it "
                f"{_shown(DEFAULTS[name])}."
            )
    return reasons


def refuse_unread(cfg: Config, choices: Mapping[str, Any], sweep: "Sweep | None" = None) -> None:
    """Refuse a config with a field that is set and that nothing reads.

    What a chosen file says may stay, as nobody typed it. So may, in a sweep, what another job reads, unless it makes
    this one run a second time: ``model=logistic,mlp model.hidden=[32]`` is two jobs.

    Args:
      cfg: a config that is valid otherwise.
      choices: group → the file that was chosen of it.
      sweep: all configs of the sweep, this one among them; None: it stands alone.

    Raises:
      ConfigError: it names the first such field, and what would read it.
    """
    reasons = unread(cfg)
    for name, sentence in reasons.items():
        value = value_of(cfg, name)
        if any(_says(group, option, name, value, reasons) for group, option in choices.items()):
            continue
        if sweep is None or not sweep.is_read(name, cfg) or sweep.is_repeated(name, cfg):
            raise ConfigError(sentence)


def _says(group: str, option: Any, name: str, value: Any, reasons: Mapping[str, str]) -> bool:
    """Whether a chosen file says so, and is not itself chosen in vain: something else that it says is read."""
    said = {field: given for field, given in preset(group, str(option)).items() if given != DEFAULTS.get(field)}
    return said.get(name) == value and (group == "experiment" or not said.keys() <= reasons.keys())


def refuse_unread_by_plugin(cfg: Config, overrides: str, read: Collection[str], group: "Sweep") -> None:
    """Refuse what a plugin's optimizer could have read, and does not: known only once it has been called.

    Args:
      cfg: of a job with a plugin's optimizer.
      overrides: that made the job.
      read: the hyper-parameters that the optimizer depends on.
      group: the jobs that share its program.

    Raises:
      ConfigError: such a field was given a value, or makes the job run a second time.
    """
    for field in ("learning_rate", "momentum", "weight_decay"):
        name = f"optimizer.{field}"
        if field in read:
            continue
        value, was_given = value_of(cfg, name), re.search(rf"(^|[\s+]){re.escape(name)}=", overrides)
        if (was_given and value != DEFAULTS[name]) or group.is_repeated(name, cfg):
            raise ConfigError(
                f"{name}={value} is read by nothing, as the optimizer of plugin={cfg.plugin} does not depend on it; "
                f"leave it {_shown(DEFAULTS[name])}, or use hparams.{field} there."
            )


class Sweep:
    """The configs of a sweep, looked at together."""

    def __init__(self, cfgs: Sequence[Config]) -> None:
        self._cfgs = cfgs
        self._counted: dict[str, Counter[str]] = {}

    def is_read(self, name: str, cfg: Config) -> bool:
        """Whether a job with the same value of the field reads it."""
        value = value_of(cfg, name)
        return any(value_of(each, name) == value and _reads(each, name) for each in self._cfgs)

    def is_repeated(self, name: str, cfg: Config) -> bool:
        """Whether another job is the same but for the field."""
        if name not in self._counted:
            self._counted[name] = Counter(_without(name, each) for each in self._cfgs)
        return self._counted[name][_without(name, cfg)] > 1


def _without(name: str, cfg: Config) -> str:
    content = as_dict(cfg)
    holder = content
    *parents, last = name.split(".")
    for parent in parents:
        holder = holder[parent]
    del holder[last]
    return json.dumps(content, sort_keys=True)


def depends_on(name: str) -> set[str]:
    """The fields that decide whether a field is read."""
    return {field for when in READ_WHEN.get(name, ()) for field in when.of}


def _reads(cfg: Config, name: str) -> bool:
    return all(when.holds(cfg) for when in READ_WHEN[name])


def _shown(default: Any) -> str:
    if default == "":
        return "empty"
    return f"at {default if isinstance(default, str | float) else json.dumps(default)}"
