"""What a lane is given and gives back: its arrays, and the report that rows are made of."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import ArrayLike

from dpjax import metrics
from dpjax.averaging import averaged_params
from dpjax.federated import Solver
from dpjax.steps import TrainState
from dpjax.stretches import History
from dpjax.subsets import merge_params
from experiments.config import Config, FederatedConf, OptimizerConf
from experiments.federated import message_size
from experiments.problems.problem import BATCH, Problem
from experiments.traces import norm_traces


class Arrays(NamedTuple):
    """Every array of a run, handed to the compiled program as an argument."""

    units: Any
    examples: Any
    train: Any
    test: Any
    validation: Any
    records: Any
    labels: Any
    frozen: Any


class Report(NamedTuple):
    """What a lane gives back.

    Attributes:
      evaluation_steps: ``[evaluations]``.
      evaluations: ``{"train" | "test": {"loss" | "accuracy" | "r2": [evaluations]}}``.
      counts: scalars over the whole run.
      traces: what the steps reported, by column; NOT private.
      test_logits: ``[rows, classes]`` of the final model; None where they would be too many to carry.
      client_accuracies: ``[clients]`` of the final model on each client's own rows; None if central.
      trained: the final parameters, if they are to be saved or something is done with them.
      unmoved: for each trained leaf of a checkpoint, whether it ended as it began.
    """

    evaluation_steps: jax.Array
    evaluations: Any
    counts: dict[str, jax.Array]
    traces: dict[str, jax.Array]
    test_logits: jax.Array | None
    client_accuracies: jax.Array | None
    trained: Any
    unmoved: Any


SUMMED = ("dropped", "aborted", "wrapped")
AVERAGED = ("aggregation_error", "uplink_bytes", "encrypt_seconds", "add_seconds", "decrypt_seconds")
"""What an aggregation reports of its steps, as a sum or a mean over them."""


def make_report(
    cfg: Config,
    problem: Problem,
    solver: Solver,
    arrays: Arrays,
    state: TrainState,
    history: History,
    *,
    noise_multiplier: ArrayLike,
    size: int,
) -> Report:
    """What a run that has ended reports; pure.

    Args:
      cfg: of the group of jobs.
      problem: that was learnt.
      solver: that learnt it.
      arrays: its data.
      state, history: of ``make_train``.
      noise_multiplier: of the run; noise that clients add is in no sum.
      size: coordinates of what the run carries.
    """
    params = kept_params(cfg.optimizer, state)
    on_sum = noise_multiplier if cfg.privacy.noise in ("gaussian", "correlated") else 0.0
    return Report(
        history.evaluation_steps,
        history.evaluations,
        _counts(cfg, history, params, message_size(cfg.federated.compression, size)),
        norm_traces(history, on_sum, size, cfg.optimizer.evaluate_every),
        _test_logits(problem, arrays, solver.model_of(params)),
        _client_accuracies(cfg.federated, solver, state, params, arrays, problem) if cfg.is_federated else None,
        solver.model_of(params) if cfg.save_model or problem.finish else None,
        solver.model_of(history.unmoved) if problem.tokens_per_row else (),
    )


def _counts(cfg: Config, history: History, kept: Any, dimension: int) -> dict[str, jax.Array]:
    steps = history.report
    assert steps.overflowed is not None  # as make_train draws
    counts = {name: jnp.sum(steps.aggregation[name]) for name in SUMMED if name in steps.aggregation}
    counts |= {name: jnp.mean(steps.aggregation[name]) for name in AVERAGED if name in steps.aggregation}
    counts |= {"overflowed": jnp.sum(steps.overflowed), "num_rejected": jnp.sum(steps.num_rejected)}
    if steps.uplink_bytes is not None:
        counts["uplink_bytes"] = jnp.mean(steps.uplink_bytes)
    if steps.local_overflows is not None:  # a mean over the accepted clients
        sent = steps.cohort_size - steps.num_rejected
        overflows = jnp.round(steps.local_overflows * sent.astype(jnp.float32)).astype(jnp.int32)
        counts["overflowed"] += jnp.sum(overflows, dtype=jnp.int32)
    counts["clip_norm"] = steps.clip_norm[-1]
    counts["finite"] = _all_finite(kept)
    if cfg.is_federated:
        counts.setdefault("uplink_bytes", jnp.float32(4 * dimension))
    return counts


def kept_params(conf: OptimizerConf, state: TrainState) -> Any:
    """What a run ends with: the parameters, or their average where one is kept."""
    return averaged_params(state) if conf.ema else state.params


def _all_finite(params: Any) -> jax.Array:
    """Whether every number is one."""
    finite = [jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(params) if jnp.issubdtype(x.dtype, jnp.inexact)]
    return jnp.all(jnp.array(finite))


_MOST_LOGITS = 4_000_000  # a lane: what is beyond would fill the memory of a sweep


def has_test_logits(problem: Problem) -> bool:
    """Whether a run of it ends with the logits of its test rows: texts by length are scored as they are evaluated.

    Args:
      problem: that is learnt.
    """
    if problem.predict is None or problem.tokens_per_row or not isinstance(problem.test_rows, tuple):
        return False
    return len(problem.test_rows[1]) * problem.dataset.num_classes <= _MOST_LOGITS


def _test_logits(problem: Problem, arrays: Arrays, params: Any) -> jax.Array | None:
    if problem.predict is None or not has_test_logits(problem):
        return None
    inputs, _ = arrays.test
    batched = problem.predict(arrays.frozen)
    return metrics.map_rows(lambda x: batched(params, x[None])[0], inputs, batch_size=BATCH)


def _client_accuracies(
    fed: FederatedConf, solver: Solver, state: TrainState, kept: Any, arrays: Arrays, problem: Problem
) -> jax.Array | None:
    """Each client's accuracy on its own training rows, with its own head where it has one; None without
    classes.
    """
    if problem.predict is None or problem.dataset.target is not None:
        return None
    batched, rows = problem.predict(arrays.frozen), (arrays.examples[0], arrays.labels)
    if fed.algorithm == "personalized":
        heads = state.unit_states.state if fed.compression.error_feedback else state.unit_states
        return metrics.evaluate_units(
            batched,
            lambda head: merge_params(state.params.model, head),
            arrays.records,
            *rows,
            states=heads,
        )
    batch = BATCH if problem.tokens_per_row == 0 else 16
    return metrics.evaluate_units(batched, lambda _: solver.model_of(kept), arrays.records, *rows, batch_size=batch)
