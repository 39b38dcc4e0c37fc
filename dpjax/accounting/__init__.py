"""Accounting: what ran (`Mechanism`) to what it costs (`epsilon`), and back (`calibrate_noise`). Imports no JAX."""

from dpjax.accounting.accountants import epsilon, rdp_epsilon
from dpjax.accounting.calibration import calibrate_noise, calibrate_noise_grid
from dpjax.accounting.mechanism import Mechanism, Sampler, event
from dpjax.accounting.shuffling import shuffle_epsilon_lower_bound

__all__ = [
    "Mechanism",
    "Sampler",
    "calibrate_noise",
    "calibrate_noise_grid",
    "epsilon",
    "event",
    "rdp_epsilon",
    "shuffle_epsilon_lower_bound",
]
