"""What of a row may leave, where its data have a budget: what is public, and what ε pays for."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dpjax.results.errors import ResultsError
from dpjax.results.result_files import job_files, parse_job_file

SHARED = frozenset(
    (
        # which run
        *("experiment", "method", "config_hash", "overrides", "seed", "dataset", "model", "loss", "hidden", "tuning"),
        *("dtype", "checkpoint", "trained_parameters", "max_length"),
        # the mechanism
        *("unit", "records_per_unit", "split", "released", "release_noise_multiplier", "release_delta", "adjacency"),
        *("sampling", "sampling_rate", "num_steps", "overflow_probability", "abort_probability", "epsilon", "delta"),
        *("accountant", "epsilon_pld", "epsilon_rdp", "tuning_accounted", "noise_multiplier", "noise"),
        *("noise_dimension", "noise_levels", "noise_shares", "secret_cohorts", "epsilon_per_report"),
        *("noise_cohort_size", "ledger", "ledger_run", "clip_norm", "final_clip_norm"),
        "clipping",
        # the optimizer and the federation
        *("optimizer", "momentum", "plugin", "learning_rate", "clients_per_round", "num_clients", "partition"),
        *("algorithm", "aggregation", "robust", "corruption", "compression"),
        # what it cost; the time of a program of fixed shapes, which is told though it is called not private
        *("wall_seconds", "compile_seconds", "device"),
        # how to run it again
        *("git_revision", "dpjax_version", "jax_version", "python_version", "timestamp", "code"),
    )
)
"""Columns that hold nothing that was computed from rows without noise. Not those of test rows, which are rows of the
same data; a column that is new, or a plugin's own, is not one of these until somebody has thought about it."""

_COUNTS = ("population", "num_units", "capacity")
"""Public, but where the number of units is what neighbours differ in."""


def has_budget(row: Mapping[str, Any]) -> bool:
    """Whether a row is of a run that a ledger paid for.

    Args:
      row: a results row.

    Example:
      >>> has_budget({"ledger_run": None}), has_budget({"ledger_run": "5e1f"})
      (False, True)
    """
    return isinstance(row.get("ledger_run"), str)


def shared(row: Mapping[str, Any]) -> dict[str, Any]:
    """What of a row may be seen by those who may not see the data: of data without a budget, all of it.

    Formal guarantees: of a run that a ledger paid for, no column is given but ``SHARED``, and the counts of units where
    its neighbours have as many.

    Args:
      row: a results row.

    Example:
      >>> shared({"ledger_run": "5e1f", "epsilon": 1.0, "train_loss": 0.3, "my_score": 0.8})
      {'ledger_run': '5e1f', 'epsilon': 1.0}
      >>> shared({"epsilon": 1.0, "train_loss": 0.3})
      {'epsilon': 1.0, 'train_loss': 0.3}
    """
    if not has_budget(row):
        return dict(row)
    public = SHARED | set(_COUNTS) if row.get("adjacency") in ("zero_out", "replace_one") else SHARED
    return {name: value for name, value in row.items() if name in public}


def holds_budget(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder has rows of runs that a ledger paid for, so that no figure or mean of it may leave.

    Args:
      folder: of a sweep, or of a job.

    Example:
      >>> holds_budget("/nowhere")
      False
    """
    for path in job_files(Path(folder)):
        try:
            if any(map(has_budget, parse_job_file(path))):
                return True
        except ResultsError:  # nothing is made of it either
            continue
    return False
