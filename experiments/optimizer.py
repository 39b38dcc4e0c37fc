"""The optimizer that is given the noised mean: the config's, or a plugin's."""

from types import ModuleType
from typing import Any

import optax

from dpjax import optimizers
from dpjax.averaging import parameter_ema
from dpjax.noise import noise_stddev
from dpjax.types import HParams
from experiments.config import OptimizerConf
from experiments.plugins import own_optimizer


def make_optimizer(
    conf: OptimizerConf, hparams: HParams, cohort_size: float, plugin: str, module: ModuleType | None
) -> optax.GradientTransformation:
    """The optimizer of a run.

    Args:
      conf: the optimizer's part of the config.
      hparams: traced.
      cohort_size: that the noised sum was divided by.
      plugin: name of the plugin; may be empty.
      module: of the plugin as it was loaded; None: there is none.
    """
    plugins = own_optimizer(plugin, hparams, cohort_size, module)
    if plugins is not None:
        return plugins
    rate: Any = hparams.learning_rate
    if conf.warmup_steps or conf.decay != "none":
        rate = optimizers.warmed_up(rate, warmup_steps=conf.warmup_steps, num_steps=conf.num_steps, decay=conf.decay)
    squares: dict[str, Any] = {"b2": conf.second_decay, "eps": conf.adaptivity}
    match conf.name:
        case "sgd":
            optimizer = optax.sgd(rate, momentum=hparams.momentum)
        case "adamw":
            optimizer = optax.adamw(rate, weight_decay=hparams.weight_decay, **squares)
        case "adam_corrected":
            noise = noise_stddev(hparams.noise_multiplier, hparams.clip_norm) / cohort_size
            corrected = optimizers.scale_by_corrected_adam(noise, b2=conf.second_decay, floor=conf.adaptivity)
            optimizer = optax.chain(corrected, optax.scale_by_learning_rate(rate))
        case _:
            optimizer = {"adam": optax.adam, "yogi": optax.yogi}[conf.name](rate, **squares)
    return optax.chain(optimizer, parameter_ema(conf.ema)) if conf.ema else optimizer
