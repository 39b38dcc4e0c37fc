"""Auditing: what attacks on a mechanism prove about its ε from below. Imports no JAX."""

from dpjax.auditing.bounds import epsilon_from_guesses, epsilon_from_rates

__all__ = ["epsilon_from_guesses", "epsilon_from_rates"]
