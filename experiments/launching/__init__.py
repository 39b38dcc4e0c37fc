"""Hydra's side of a sweep: how its jobs are composed, grouped, shown and stopped."""
