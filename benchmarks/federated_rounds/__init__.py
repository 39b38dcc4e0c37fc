"""Rounds per second of simulated federated averaging, against pfl-research."""
