"""What a deployed run leaves: the row of a simulated one, the model, and what became of each client."""

import datetime
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dpjax import metrics
from dpjax.results import write_atomically, write_job_result
from dpjax.scores import number_scores, scores
from experiments import identity
from experiments.deploy.correspondence import Account
from experiments.deploy.federation import Federation
from experiments.deploy.rows import Rows
from experiments.deploy.server import Ended
from experiments.finish import show_table
from experiments.problems.problem import BATCH
from experiments.problems.saving import save_model
from experiments.rows import peak_memory_mib

ACCOUNTS = "clients.json"


def row_of(federation: Federation, ended: Ended, test: Rows | None) -> dict[str, Any]:
    """The results row; what only a simulation sees, as norms of all clients and their own accuracies, is left out.

    Args:
      federation: that ran.
      ended: how.
      test: rows at the server, or None.
    """
    answered = sum(account.answered for account in ended.accounts)
    params = federation.solver().model_of(ended.state.params)
    finite = all(bool(np.isfinite(np.asarray(x)).all()) for x in jax.tree.leaves(params))
    row: dict[str, Any] = federation.facts | {
        "seed": federation.cfg.seed,
        "diverged": not finite,
        "overflow_count": 0 if federation.inside is False else None,
        "rejected_count": sum(account.not_finite for account in ended.accounts),
        "dropped_count": sum(account.asked - account.answered for account in ended.accounts),
        "aborted_count": ended.aborted if federation.is_secure else None,
        "final_clip_norm": float(ended.state.clip_norm),
        "uplink_bytes": sum(account.up for account in ended.accounts) / max(answered, 1),
        "wall_seconds": sum(ended.seconds),
        "compile_seconds": 0.0,
        "peak_memory_mib": peak_memory_mib(),
        "timestamp": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    if test is None or not ended.evaluations:
        return row
    values = [value["test"] for _, value in ended.evaluations]
    last = values[-1]
    return row | {
        **{f"test_{name}": float(value) if finite else math.nan for name, value in last.items()},
        **_scores(federation, params, finite),
        "eval_steps": [step for step, _ in ended.evaluations],
        "eval_test_loss": [float(value["loss"]) for value in values],
        "eval_test_accuracy": [float(value["accuracy"]) for value in values] if "accuracy" in last else None,
    }


def _scores(federation: Federation, params: Any, finite: bool) -> dict[str, Any]:
    problem, arrays = federation.setup.problem, federation.setup.arrays
    if problem.predict is None or not finite or not isinstance(arrays.test, tuple):
        return {}
    batched = problem.predict(arrays.frozen)
    logits = np.asarray(metrics.map_rows(lambda x: batched(params, x[None])[0], arrays.test[0], batch_size=BATCH))
    labels, target = np.asarray(arrays.test[1]), problem.dataset.target
    if target is not None:
        found: Mapping[str, Any] = number_scores(target.unscaled(logits[:, 0]), target.unscaled(labels))
    else:
        found = scores(logits, labels)
    return {f"test_{name}": value for name, value in found.items()}


def accounts_of(federation: Federation, accounts: list[Account], strangers: Mapping[str, str]) -> dict[str, Any]:
    """What became of each client, and of those who are none."""
    named = {member.name: vars(each) for member, each in zip(federation.plan.clients, accounts, strict=True)}
    return {"plan": federation.plan.digest, "clients": named, "strangers": dict(strangers)}


def write_outcome(
    folder: Path, federation: Federation, ended: Ended, test: Rows | None, strangers: Mapping[str, str]
) -> dict[str, Any]:
    """Write the row, the table, the model with its claim, and the accounts; the row.

    Args:
      folder: of the run.
      federation, ended, test: see ``row_of``.
      strangers: who tried to take part and may not.
    """
    row = row_of(federation, ended, test)
    dataset = federation.setup.problem.dataset
    trained = federation.solver().model_of(ended.state.params)
    save_model(federation.cfg, folder / "model", trained, row, dataset.class_names, dataset.target)
    told = accounts_of(federation, ended.accounts, strangers)
    write_atomically(folder / ACCOUNTS, json.dumps(told, indent=1).encode())
    write_job_result(folder, [row], identity.digest(federation.cfg, {}))
    if test is None:  # a table is one of scores
        print(f"No test rows, so that nothing was scored: {federation.claim}")
        return row
    unwritten = show_table(folder)
    if unwritten is not None:
        raise unwritten
    return row
