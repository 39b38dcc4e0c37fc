"""Accounting, without JAX: from what ran (``Mechanism``) to what it costs (``epsilon``), and back."""

from dpjax.accounting.aborts import abort_probability
from dpjax.accounting.accountants import epsilon, rdp_epsilon
from dpjax.accounting.calibration import calibrate_noise, calibrate_noise_grid, calibrate_report_epsilon
from dpjax.accounting.distributed import DistributedNoise
from dpjax.accounting.events import event
from dpjax.accounting.factorization import (
    Factorization,
    banded_toeplitz,
    buffered_toeplitz,
    independent_noise,
    optimal_toeplitz,
    prefix_stddev,
    tree_aggregation,
)
from dpjax.accounting.local import LocalReports, composed_epsilon
from dpjax.accounting.mechanism import Mechanism, Sampler
from dpjax.accounting.noises import Noise
from dpjax.accounting.overflow import overflow_fits
from dpjax.accounting.participation import Participation
from dpjax.accounting.recipes import FACTORIZATIONS, factorization_of
from dpjax.accounting.releases import Release
from dpjax.accounting.samplings import (
    SAMPLINGS,
    Cyclic,
    FixedSize,
    Full,
    Poisson,
    Sampling,
    Shuffled,
    default_adjacency,
    sampling_of,
)
from dpjax.accounting.shuffling import shuffle_epsilon_lower_bound
from dpjax.accounting.spending import spent

__all__ = [
    "FACTORIZATIONS",
    "SAMPLINGS",
    "Cyclic",
    "DistributedNoise",
    "Factorization",
    "FixedSize",
    "Full",
    "LocalReports",
    "Mechanism",
    "Noise",
    "Participation",
    "Poisson",
    "Release",
    "Sampler",
    "Sampling",
    "Shuffled",
    "abort_probability",
    "banded_toeplitz",
    "buffered_toeplitz",
    "calibrate_noise",
    "calibrate_noise_grid",
    "calibrate_report_epsilon",
    "composed_epsilon",
    "default_adjacency",
    "epsilon",
    "event",
    "factorization_of",
    "independent_noise",
    "optimal_toeplitz",
    "overflow_fits",
    "prefix_stddev",
    "rdp_epsilon",
    "sampling_of",
    "shuffle_epsilon_lower_bound",
    "spent",
    "tree_aggregation",
]
