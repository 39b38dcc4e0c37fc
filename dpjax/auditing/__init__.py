"""Auditing: what attacks on a mechanism prove about its ε from below. Imports no JAX."""

from dpjax.auditing.bounds import epsilon_from_guesses, epsilon_from_rates
from dpjax.auditing.canaries import Canaries, expected_of_chance, exposure, make_canaries, ranks

__all__ = [
    "Canaries",
    "epsilon_from_guesses",
    "epsilon_from_rates",
    "expected_of_chance",
    "exposure",
    "make_canaries",
    "ranks",
]
