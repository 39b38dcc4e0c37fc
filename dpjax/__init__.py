"""Privacy-utility benchmarking in JAX: clip every unit's contribution, sum, add noise, account, compare."""

import importlib
from typing import TYPE_CHECKING, Any

from dpjax._version import __version__

if TYPE_CHECKING:
    from dpjax.accounting import Mechanism, calibrate_noise, calibrate_noise_grid, epsilon
    from dpjax.averaging import averaged_params, parameter_ema
    from dpjax.buckets import Buckets, bucketed
    from dpjax.clipping import (
        ClippingRule,
        automatic_clipping,
        clipped_sum,
        flat_clipping,
        group_clipping,
        per_layer_clipping,
    )
    from dpjax.clipping.adaptive import AdaptiveClipping, adaptive_clipping
    from dpjax.contribution import ContributionFn
    from dpjax.contributions import client_delta, example_gradient, private_client_delta, user_gradient
    from dpjax.correlated_noise import correlated_privatizer
    from dpjax.drop_in import private_grad
    from dpjax.noise import gaussian_privatizer, noise_stddev
    from dpjax.sampling import (
        Sampler,
        cyclic_cohort,
        cyclic_sampler,
        draw_cohort,
        fixed_size_cohort,
        fixed_size_sampler,
        poisson_cohort,
        poisson_sampler,
        shuffled_cohort,
        shuffled_sampler,
    )
    from dpjax.steps import TrainState
    from dpjax.subsets import merge_params, split_params
    from dpjax.training import History, make_train
    from dpjax.types import ClippedSum, Cohort, HParams, PerUnit, Records, Stateful, UnitData

# jax takes seconds to import; `dpjax --version` and the accountant must not pay for it.
_HOME = {
    "accounting": ("Mechanism", "calibrate_noise", "calibrate_noise_grid", "epsilon"),
    "averaging": ("averaged_params", "parameter_ema"),
    "buckets": ("Buckets", "bucketed"),
    "clipping": (
        "ClippingRule",
        "automatic_clipping",
        "clipped_sum",
        "flat_clipping",
        "group_clipping",
        "per_layer_clipping",
    ),
    "clipping.adaptive": ("AdaptiveClipping", "adaptive_clipping"),
    "contribution": ("ContributionFn",),
    "contributions": ("client_delta", "example_gradient", "private_client_delta", "user_gradient"),
    "noise": ("gaussian_privatizer", "noise_stddev"),
    "correlated_noise": ("correlated_privatizer",),
    "drop_in": ("private_grad",),
    "sampling": (
        "Sampler",
        "cyclic_cohort",
        "cyclic_sampler",
        "draw_cohort",
        "fixed_size_cohort",
        "fixed_size_sampler",
        "poisson_cohort",
        "poisson_sampler",
        "shuffled_cohort",
        "shuffled_sampler",
    ),
    "subsets": ("merge_params", "split_params"),
    "steps": ("TrainState",),
    "training": ("History", "make_train"),
    "types": ("ClippedSum", "Cohort", "HParams", "PerUnit", "Records", "Stateful", "UnitData"),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "AdaptiveClipping",
    "Buckets",
    "ClippedSum",
    "ClippingRule",
    "Cohort",
    "ContributionFn",
    "HParams",
    "History",
    "Mechanism",
    "PerUnit",
    "Records",
    "Sampler",
    "Stateful",
    "TrainState",
    "UnitData",
    "__version__",
    "adaptive_clipping",
    "automatic_clipping",
    "averaged_params",
    "bucketed",
    "calibrate_noise",
    "calibrate_noise_grid",
    "client_delta",
    "clipped_sum",
    "correlated_privatizer",
    "cyclic_cohort",
    "cyclic_sampler",
    "draw_cohort",
    "epsilon",
    "example_gradient",
    "fixed_size_cohort",
    "fixed_size_sampler",
    "flat_clipping",
    "gaussian_privatizer",
    "group_clipping",
    "make_train",
    "merge_params",
    "noise_stddev",
    "parameter_ema",
    "per_layer_clipping",
    "poisson_cohort",
    "poisson_sampler",
    "private_client_delta",
    "private_grad",
    "shuffled_cohort",
    "shuffled_sampler",
    "split_params",
    "user_gradient",
]


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        return getattr(importlib.import_module(f"dpjax.{_MODULE_OF[name]}"), name)
    raise AttributeError(f"module 'dpjax' has no attribute {name!r}")
