"""From a config to what runs: data, model, units, sampler and the training function."""

import math
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from dpjax import clipping, contributions, metrics, optimizers, sampling
from dpjax.averaging import averaged_params, parameter_ema
from dpjax.clipping.adaptive import AdaptiveClipping, adaptive_clipping
from dpjax.datasets.selection import num_owners
from dpjax.federated import Solver
from dpjax.noise import noise_stddev
from dpjax.population import Population
from dpjax.steps import TrainState
from dpjax.subsets import merge_params
from dpjax.training import Evaluation, make_train
from dpjax.types import HParams, at_least_float32
from experiments.config import Config
from experiments.engine_choice import tuned
from experiments.federated import compressed, make_aggregation, make_clients, make_solver, message_size, refuse_personal
from experiments.identity import capacity_epsilon
from experiments.memory import refuse_partition, refuse_run
from experiments.plugins import load_plugin, own_optimizer, own_rule, try_optimizer, try_rule
from experiments.privacy import (
    Accounted,
    abort_probability,
    accounted,
    count_parameters,
    local_sampler,
    make_privatizer,
)
from experiments.problems.choice import make_problem
from experiments.problems.problem import BATCH, Problem
from experiments.task import Tell
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


class Setup(NamedTuple):
    """A static signature made real: what jobs of one group share.

    Attributes:
      train: ``(arrays, hparams, key) → Report``; pure.
      arrays: its data.
      sampler: of the cohorts.
      accounted: what the accountant is told of the run.
      problem: data and model.
      num_parameters: numbers that are trained.
      rule: of clipping.
      read: the hyper-parameters that a plugin's optimizer depends on; None: the optimizer is the config's.
    """

    train: Callable[..., Any]
    arrays: Arrays
    sampler: sampling.Sampler
    accounted: Accounted
    problem: Problem
    num_parameters: int
    rule: clipping.ClippingRule
    read: frozenset[str] | None


class Report(NamedTuple):
    """What a lane gives back.

    Attributes:
      evaluation_steps: ``[evaluations]``.
      evaluations: ``{"train" | "test": {"loss" | "accuracy": [evaluations]}}``.
      counts: scalars over the whole run.
      traces: what the steps reported, by column; NOT private.
      client_accuracies: ``[clients]`` of the final model on each client's own rows; None if central.
      trained: the final parameters, if they are to be saved or something is done with them.
      unmoved: for each trained leaf of a checkpoint, whether it ended as it began.
    """

    evaluation_steps: jax.Array
    evaluations: Any
    counts: dict[str, jax.Array]
    traces: dict[str, jax.Array]
    client_accuracies: jax.Array | None
    trained: Any
    unmoved: Any


def build(cfg: Config, tell: Tell = lambda stage, done, total: None) -> Setup:
    """Load the data, build the model and the sampler, and tie them into one training function.

    Args:
      cfg: of the group of jobs.
      tell: hears what takes long.

    Raises:
      ValueError: what can't be run, in one sentence.
    """
    problem = make_problem(cfg, tell)
    dataset = problem.dataset
    rows = (dataset.train_inputs, dataset.train_labels)
    federal = cfg.is_federated
    if federal:
        refuse_partition(cfg)
    clients = make_clients(cfg, dataset) if federal else None
    most_records = 0
    if clients is None:
        unit = "example" if cfg.privacy.records_per_unit is None else "user"
        units, sampler = rows, _sampler(cfg, len(dataset.train_labels), cfg.optimizer.sampling_rate)
    else:
        unit = "user" if cfg.federated.algorithm == "fedsgd" else "client"
        units, rows = clients.units, (dataset.train_inputs, clients.labels)
        sampler = _sampler(cfg, clients.number, cfg.federated.expected_clients / clients.number)
        sampler = replace(sampler, abort_probability=abort_probability(cfg, sampler))
        most_records = clients.records.mask.shape[1]
    put = jnp.asarray
    arrays = Arrays(
        units=jax.tree.map(put, units),
        examples=jax.tree.map(put, rows) if federal else None,
        train=problem.train_rows,
        test=problem.test_rows,
        validation=problem.validation_rows,
        records=clients.records if clients else None,
        labels=put(dataset.train_labels) if federal else None,
        frozen=jax.tree.map(put, problem.frozen),
    )
    local = local_sampler(cfg, most_records) if cfg.privacy.noise == "inside_clients" else None

    plugin = load_plugin(cfg.plugin)  # once: an edit while it is compiled is none of this run's
    rule = rule_of(cfg)

    def plain_solver(hparams: HParams, frozen: Any) -> Solver:
        loss_fn = problem.loss_fn(frozen)
        if not federal:
            return Solver(contributions.example_gradient(loss_fn))
        return make_solver(cfg, loss_fn, hparams, sampler.sampling_rate, local, rule, clients)

    def message(frozen: Any, key: jax.Array) -> Any:
        solver = plain_solver(HParams(), frozen)
        return solver.message_like(solver.init(problem.init(frozen, key)))

    if federal and cfg.federated.algorithm == "personalized":
        refuse_personal(cfg, jax.eval_shape(problem.init, arrays.frozen, jax.random.key(0)))
    sent = jax.eval_shape(message, arrays.frozen, jax.random.key(0))
    whole = count_parameters(sent)
    refuse_run(cfg, num_parameters=whole, slots=sampler.capacity, clients=clients.number if clients else 0)
    dimension = message_size(cfg, whole)
    owners = None if cfg.privacy.records_per_unit is None else num_owners(dataset)
    run_as = accounted(cfg, sampler, unit, most_records=most_records, dimension=dimension, num_owners=owners)
    engine, microbatch_size = cfg.engine, cfg.microbatch_size
    if engine == "tuned":
        solver = compressed(cfg, plain_solver(HParams(), arrays.frozen), whole)
        start = solver.init(jax.jit(problem.init)(arrays.frozen, jax.random.key(0)))
        engine, microbatch_size = tuned(solver, start, arrays.units, arrays.examples, sampler.capacity, rule)

    def train(arrays: Arrays, hparams: HParams, key: jax.Array) -> Report:
        def evaluate(params: Any) -> Any:
            split = {"train": arrays.train, "test": arrays.test, "validation": arrays.validation}
            return {
                name: problem.evaluate(arrays.frozen, params, rows) for name, rows in split.items() if rows is not None
            }

        solver, outer = compressed(cfg, plain_solver(hparams, arrays.frozen), whole), hparams
        if local is not None:  # what clients send is private already
            outer = hparams._replace(clip_norm=math.inf, noise_multiplier=0.0)
        run = make_train(
            lambda key: problem.init(arrays.frozen, key),
            solver,
            Population(arrays.units, arrays.examples, clients.weights if clients else None),
            sampler=sampler,
            num_steps=cfg.optimizer.num_steps,
            make_optimizer=lambda h: _optimizer(cfg, h, sampler.expected_cohort_size, plugin),
            sum_factory=clipping.Summing(
                rule,
                make_aggregation(cfg, hparams) if federal else problem.by_length,
                clipping.Engine(engine, microbatch_size),
            ),
            noise=adaptive(cfg) or make_privatizer(run_as),
            evaluation=Evaluation(evaluate, cfg.optimizer.evaluate_every, lambda state: _kept(cfg, state)),
        )
        state, history = run(outer, key)
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
        counts["finite"] = _all_finite(_kept(cfg, state))
        own = None
        if federal:
            counts.setdefault("uplink_bytes", jnp.float32(4 * dimension))
            own = _client_accuracies(cfg, solver, state, arrays, problem)
        unmoved = solver.model_of(history.unmoved) if problem.tokens_per_row else ()
        trained = solver.model_of(_kept(cfg, state)) if cfg.save_model or problem.finish else None
        on_sum = hparams.noise_multiplier if cfg.privacy.noise in ("gaussian", "correlated") else 0.0
        traces = norm_traces(history, on_sum, whole, cfg.optimizer.evaluate_every)
        return Report(history.evaluation_steps, history.evaluations, counts, traces, own, trained, unmoved)

    if hasattr(plugin, "clipping_rule"):
        try_rule(cfg.plugin, rule, sent)
    read = None
    if hasattr(plugin, "make_optimizer"):

        def make(hparams: HParams) -> Any:
            return own_optimizer(cfg.plugin, hparams, sampler.expected_cohort_size, plugin)

        solver = compressed(cfg, plain_solver(HParams(), arrays.frozen), whole)
        read = try_optimizer(make, cfg.plugin, _moved_by_server(solver, problem, arrays))
    return Setup(train, arrays, sampler, run_as, problem, whole, rule, read)


def _moved_by_server(solver: Solver, problem: Problem, arrays: Arrays) -> Any:
    """Shapes of the parameters that the server's optimizer moves, which may be a part of what a run carries."""
    seen: list[Any] = []

    def init(params: Any) -> optax.OptState:
        seen.append(jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, at_least_float32(x.dtype)), params))
        return optax.EmptyState()

    watched = optax.GradientTransformation(init, optax.identity().update)
    jax.eval_shape(
        lambda key: solver.wrap_optimizer(watched).init(solver.init(problem.init(arrays.frozen, key))),
        jax.random.key(0),
    )
    return seen[0]


def _all_finite(params: Any) -> jax.Array:
    """Whether every number is one."""
    finite = [jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(params) if jnp.issubdtype(x.dtype, jnp.inexact)]
    return jnp.all(jnp.array(finite))


SUMMED = ("dropped", "aborted", "wrapped")
AVERAGED = ("aggregation_error", "uplink_bytes", "encrypt_seconds", "add_seconds", "decrypt_seconds")
"""What an aggregation reports of its steps, as a sum or a mean over them."""


def _client_accuracies(
    cfg: Config, solver: Solver, state: TrainState, arrays: Arrays, problem: Problem
) -> jax.Array | None:
    """Each client's accuracy on its own training rows, with its own head where it has one; None without classes."""
    if problem.predict is None:
        return None
    batched, rows = problem.predict(arrays.frozen), (arrays.examples[0], arrays.labels)
    if cfg.federated.algorithm == "personalized":
        heads = state.unit_states.state if cfg.federated.compression.error_feedback else state.unit_states
        return metrics.evaluate_units(
            batched,
            lambda head: merge_params(state.params.model, head),
            arrays.records,
            *rows,
            states=heads,
        )
    batch = BATCH if problem.tokens_per_row == 0 else 16
    return metrics.evaluate_units(
        batched, lambda _: solver.model_of(_kept(cfg, state)), arrays.records, *rows, batch_size=batch
    )


def _sampler(cfg: Config, population: int, sampling_rate: float) -> sampling.Sampler:
    return sampling.SAMPLERS[cfg.optimizer.sampling].at_rate(
        population,
        sampling_rate,
        num_steps=cfg.optimizer.num_steps,
        epsilon=capacity_epsilon(cfg),
        delta=cfg.privacy.delta,
    )


def adaptive(cfg: Config) -> AdaptiveClipping | None:
    """How the clip norm adapts in a run; None where it stays."""
    if cfg.clipping.name != "adaptive":
        return None
    return adaptive_clipping(cfg.clipping.target_quantile, cfg.clipping.learning_rate, cfg.clipping.count_stddev)


def rule_of(cfg: Config) -> clipping.ClippingRule:
    """The clipping rule of a run: the plugin's, or the config's."""
    own = own_rule(cfg.plugin)
    if own is not None:
        return own
    if cfg.clipping.name == "per_layer":
        return clipping.per_layer_clipping()
    if cfg.clipping.name == "automatic":
        return clipping.automatic_clipping(cfg.clipping.stability)
    return clipping.flat_clipping()


def _kept(cfg: Config, state: TrainState) -> Any:
    """What a run ends with: the parameters, or their average where one is kept."""
    return averaged_params(state) if cfg.optimizer.ema else state.params


def _optimizer(
    cfg: Config, hparams: HParams, cohort_size: float, plugin: ModuleType | None
) -> optax.GradientTransformation:
    own, conf = own_optimizer(cfg.plugin, hparams, cohort_size, plugin), cfg.optimizer
    if own is not None:
        return own
    rate: Any = hparams.learning_rate
    if conf.warmup_steps or conf.decay != "none":
        rate = optimizers.warmed_up(rate, warmup_steps=conf.warmup_steps, num_steps=conf.num_steps, decay=conf.decay)
    squares: dict[str, Any] = {"b2": conf.second_decay, "eps": conf.adaptivity}
    match conf.name:
        case "sgd":
            made = optax.sgd(rate, momentum=hparams.momentum)
        case "adamw":
            made = optax.adamw(rate, weight_decay=hparams.weight_decay, **squares)
        case "adam_corrected":
            noise = noise_stddev(hparams.noise_multiplier, hparams.clip_norm) / cohort_size
            corrected = optimizers.scale_by_corrected_adam(noise, b2=conf.second_decay, floor=conf.adaptivity)
            made = optax.chain(corrected, optax.scale_by_learning_rate(rate))
        case _:
            made = {"adam": optax.adam, "yogi": optax.yogi}[conf.name](rate, **squares)
    return optax.chain(made, parameter_ema(conf.ema)) if conf.ema else made
