"""What a row calls the model's layers, the optimizer and the clipping rule: of those that ran, a plugin's too."""

import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from dpjax.clipping import ClippingRule, per_layer_clipping
from dpjax.results.claims import small
from experiments.config import Config, OptimizerConf
from experiments.inputs import plugin_label
from experiments.privacy import clip_norm


def named(
    cfg: Config, files: Mapping[str, str], rule: ClippingRule, read: Collection[str] | None, model: str
) -> dict[str, Any]:
    """The columns that say what was trained, and by which rule and optimizer.

    Args:
      cfg: of the job.
      files: what ``experiments.inputs.inputs`` found of it.
      rule: that clipped.
      read: the hyper-parameters that a plugin's optimizer depends on; None: the optimizer is the config's.
      model: what the row calls the model that was trained.
    """
    conf = cfg.optimizer
    if read is None:
        read, optimizer = {"learning_rate"} | ({"momentum"} if conf.name == "sgd" else set()), _optimizer(conf)
    else:  # what a plugin's optimizer does not depend on had no part in the run
        optimizer = f"{Path(cfg.plugin).name}:make_optimizer"
        optimizer += f"(weight_decay={small(conf.weight_decay)})" if "weight_decay" in read else ""
    return {
        "hidden": str(list(cfg.model.hidden)) if model in ("mlp", "text") else None,
        "plugin": plugin_label(cfg.plugin, files) if cfg.plugin else None,
        "clipping": _clipping(cfg, rule),
        "optimizer": optimizer,
        "momentum": conf.momentum if "momentum" in read else None,
        "learning_rate": conf.learning_rate if "learning_rate" in read else None,
    }


def _clipping(cfg: Config, rule: ClippingRule) -> str | None:
    """The rule that ran, which a plugin may have put in place of the config's."""
    if math.isinf(clip_norm(cfg.privacy, cfg.federated)):
        return None  # a reference is not clipped, whatever the rule
    parts = [f"adaptive(q={cfg.clipping.target_quantile:g})"] if cfg.clipping.name == "adaptive" else []
    if rule.groups is not None:
        parts.append("per_layer" if rule.groups == per_layer_clipping().groups else "groups")
    parts += [f"automatic(γ={rule.stability:g})"] if rule.stability is not None else []
    return " ".join(parts) or "flat"


def _optimizer(conf: OptimizerConf) -> str:
    """The config's optimizer, with all that it was given but the learning rate."""
    given = {"momentum": conf.momentum} if conf.name == "sgd" else {"b2": conf.second_decay, "eps": conf.adaptivity}
    given |= {"weight_decay": conf.weight_decay} if conf.name == "adamw" else {}
    given |= {"warmup": conf.warmup_steps} if conf.warmup_steps else {}
    given |= {"decay": conf.decay} if conf.decay != "none" else {}
    given |= {"ema": conf.ema} if conf.ema else {}
    arguments = (f"{name}={value if isinstance(value, str) else small(value)}" for name, value in given.items())
    return f"{conf.name}({', '.join(arguments)})"
