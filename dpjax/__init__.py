"""Privacy-utility benchmarking in JAX: clip every unit's contribution, sum, add noise, account, compare."""

import importlib
from typing import TYPE_CHECKING, Any

from dpjax._version import __version__

if TYPE_CHECKING:  # what type checkers see of the table below; tests/test_front_page.py compares the two
    # ruff: noqa: F401
    # isort: off
    # packages
    from dpjax import (
        accounting,
        auditing,
        clipping,
        contributions,
        datasets,
        federated,
        metrics,
        models,
        optimizers,
        results,
        sampling,
        sweeps,
    )

    # units and cohorts
    from dpjax.population import Population
    from dpjax.types import Cohort, Records, UnitData
    from dpjax.buckets import Buckets, bucketed
    from dpjax.sampling import (
        Sampler,
        poisson_sampler,
        fixed_size_sampler,
        shuffled_sampler,
        cyclic_sampler,
        draw_cohort,
        poisson_cohort,
        fixed_size_cohort,
        shuffled_cohort,
        cyclic_cohort,
    )

    # contribution
    from dpjax.contribution import ContributionFn, Reported
    from dpjax.contributions import example_gradient, user_gradient, client_delta, private_client_delta
    from dpjax.solver import Solver
    from dpjax.types import PerUnit, Stateful
    from dpjax.subsets import split_params, merge_params

    # clip and sum
    from dpjax.clipping import (
        ClippingRule,
        flat_clipping,
        per_layer_clipping,
        group_clipping,
        automatic_clipping,
        clipped_sum,
        Summing,
        Engine,
    )
    from dpjax.types import ClippedSum

    # noise
    from dpjax.noise import noise_stddev, gaussian_privatizer
    from dpjax.correlated_noise import correlated_privatizer
    from dpjax.accounting import (
        Participation,
        Factorization,
        banded_toeplitz,
        buffered_toeplitz,
        optimal_toeplitz,
        tree_aggregation,
    )
    from dpjax.clipping import AdaptiveClipping, adaptive_clipping

    # optimizer
    from dpjax.averaging import parameter_ema, averaged_params
    from dpjax.optimizers import scale_by_corrected_adam, warmed_up

    # train
    from dpjax.types import HParams
    from dpjax.training import make_train, Evaluation
    from dpjax.stretches import History, Progress, Train
    from dpjax.steps import TrainState
    from dpjax.drop_in import private_grad

    # account
    from dpjax.accounting import Mechanism, epsilon, calibrate_noise, calibrate_noise_grid

STAGES: dict[str, dict[str, str]] = {
    "units and cohorts": {
        "population": "Population",
        "types": "Cohort Records UnitData",
        "buckets": "Buckets bucketed",
        "sampling": (
            "Sampler poisson_sampler fixed_size_sampler shuffled_sampler cyclic_sampler draw_cohort "
            "poisson_cohort fixed_size_cohort shuffled_cohort cyclic_cohort"
        ),
    },
    "contribution": {
        "contribution": "ContributionFn Reported",
        "contributions": "example_gradient user_gradient client_delta private_client_delta",
        "solver": "Solver",
        "types": "PerUnit Stateful",
        "subsets": "split_params merge_params",
    },
    "clip and sum": {
        "clipping": (
            "ClippingRule flat_clipping per_layer_clipping group_clipping automatic_clipping clipped_sum Summing Engine"
        ),
        "types": "ClippedSum",
    },
    "noise": {
        "noise": "noise_stddev gaussian_privatizer",
        "correlated_noise": "correlated_privatizer",
        "accounting": "Participation Factorization banded_toeplitz buffered_toeplitz optimal_toeplitz tree_aggregation",
        "clipping": "AdaptiveClipping adaptive_clipping",
    },
    "optimizer": {
        "averaging": "parameter_ema averaged_params",
        "optimizers": "scale_by_corrected_adam warmed_up",
    },
    "train": {
        "types": "HParams",
        "training": "make_train Evaluation",
        "stretches": "History Progress Train",
        "steps": "TrainState",
        "drop_in": "private_grad",
    },
    "account": {
        "accounting": "Mechanism epsilon calibrate_noise calibrate_noise_grid",
    },
}
"""What a program needs, in the order of a run: stage → module → names."""

PACKAGES = (
    "accounting",
    "auditing",
    "clipping",
    "contributions",
    "datasets",
    "federated",
    "metrics",
    "models",
    "optimizers",
    "results",
    "sampling",
    "sweeps",
)
"""What opens as an attribute of ``dpjax``."""

_MODULE_OF = {
    name: module for modules in STAGES.values() for module, names in modules.items() for name in names.split()
}

__all__ = ["__version__", *sorted(_MODULE_OF)]  # pyright: ignore[reportUnsupportedDunderAll]


# JAX takes seconds to import; ``dpjax --version`` and the accountant must not pay for it.
def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        return getattr(importlib.import_module(f"dpjax.{_MODULE_OF[name]}"), name)
    if name in PACKAGES:
        return importlib.import_module(f"dpjax.{name}")
    raise AttributeError(f"module 'dpjax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *PACKAGES])
