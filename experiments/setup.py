"""From a config to what runs: data, model, units, sampler and the training function."""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from omegaconf import DictConfig

from dpjax import clipping, contributions, metrics, models, sampling
from dpjax.clipping.adaptive import AdaptiveClipping, adaptive_clipping
from dpjax.contributions.private_clients import LOCAL_OVERFLOWS
from dpjax.datasets import Dataset, load
from dpjax.federated import Solver
from dpjax.steps import TrainState
from dpjax.subsets import merge_params
from dpjax.training import make_train
from dpjax.types import HParams
from experiments.config import ConfigError, capacity_epsilon
from experiments.federated import compressed, make_aggregation, make_clients, make_solver, message_size
from experiments.privacy import Accounted, accounted, count_parameters, local_sampler, make_privatizer
from experiments.tuning import tuned


class Arrays(NamedTuple):
    """Every array of a run, handed to the compiled program as an argument."""

    units: Any
    examples: Any
    train: tuple[jax.Array, jax.Array]
    test: tuple[jax.Array, jax.Array]
    records: Any


class Setup(NamedTuple):
    """A static signature made real: what jobs of one group share.

    Attributes:
      train: ``(arrays, hparams, key) → Report``; pure.
      arrays: its data.
      sampler: of the cohorts.
      accounted: what the accountant is told of the run.
    """

    train: Callable[..., Any]
    arrays: Arrays
    sampler: sampling.Sampler
    accounted: Accounted


class Report(NamedTuple):
    """What a lane gives back.

    Attributes:
      evaluation_steps: ``[evaluations]``.
      evaluations: ``{"train" | "test": {"loss" | "accuracy": [evaluations]}}``.
      counts: scalars over the whole run.
      client_accuracies: ``[clients]`` of the final model on each client's own rows; None if central.
    """

    evaluation_steps: jax.Array
    evaluations: Any
    counts: dict[str, jax.Array]
    client_accuracies: jax.Array | None


def build(cfg: DictConfig) -> Setup:
    """Load the data, build the model and the sampler, and tie them into one training function.

    Raises:
      ValueError: what can't be run, in one sentence.
    """
    dataset = _load(cfg.data.name)
    model = _model(cfg, dataset)
    rows = (dataset.train_inputs, dataset.train_labels)
    federal = cfg.federated.clients_per_round is not None
    clients = make_clients(cfg, dataset) if federal else None
    most_records = 0
    if clients is None:
        unit, units, sampler = "example", rows, _sampler(cfg, len(dataset.train_labels), cfg.optimizer.sampling_rate)
    else:
        unit = "user" if cfg.federated.algorithm == "fedsgd" else "client"
        units, rows = clients.units, (dataset.train_inputs, clients.labels)
        sampler = _sampler(cfg, clients.number, cfg.federated.clients_per_round / clients.number)
        most_records = clients.records.mask.shape[1]
    put = jnp.asarray
    arrays = Arrays(
        units=jax.tree.map(put, units),
        examples=jax.tree.map(put, rows) if federal else None,
        train=(put(dataset.train_inputs), put(dataset.train_labels)),
        test=(put(dataset.test_inputs), put(dataset.test_labels)),
        records=clients.records if clients else None,
    )
    loss_fn = models.cross_entropy_loss(model)
    local = local_sampler(cfg, most_records) if cfg.privacy.noise == "inside_clients" else None

    rule = _rule(cfg)

    def plain_solver(hparams: HParams) -> Solver:
        if not federal:
            return Solver(contributions.example_gradient(loss_fn))
        return make_solver(cfg, loss_fn, hparams, sampler.sampling_rate, local, rule)

    def message(key: jax.Array) -> Any:
        solver = plain_solver(HParams())
        return solver.message_like(solver.init(model.init(key)))

    whole = count_parameters(jax.eval_shape(message, jax.random.key(0)))
    dimension = message_size(cfg, whole)
    run_as = accounted(cfg, sampler, unit, most_records=most_records, dimension=dimension)
    engine, microbatch_size = cfg.engine, cfg.microbatch_size
    if engine == "tuned":
        solver = compressed(cfg, plain_solver(HParams()), whole)
        start = solver.init(model.init(jax.random.key(0)))
        engine, microbatch_size = tuned(solver, start, arrays.units, arrays.examples, sampler.capacity, rule)
    batched = jax.vmap(lambda params, inputs: model.apply(params, inputs, None), in_axes=(None, 0))

    def train(arrays: Arrays, hparams: HParams, key: jax.Array) -> Report:
        def evaluate(params: Any) -> Any:
            split = {"train": arrays.train, "test": arrays.test}
            return {name: metrics.evaluate(batched, params, *data, batch_size=2048) for name, data in split.items()}

        solver, outer = compressed(cfg, plain_solver(hparams), whole), hparams
        if local is not None:  # what clients send is private already
            outer = hparams._replace(clip_norm=math.inf, noise_multiplier=0.0)
        run = make_train(
            lambda key: solver.init(model.init(key)),
            solver.contribution_fn,
            arrays.units,
            sampler=sampler,
            num_steps=cfg.optimizer.num_steps,
            make_optimizer=lambda h: solver.wrap_optimizer(_optimizer(cfg.optimizer, h)),
            examples=arrays.examples,
            evaluate=evaluate,
            evaluate_every=cfg.optimizer.evaluate_every,
            evaluate_params=lambda state: solver.model_of(state.params),
            rule=rule,
            adaptive=adaptive(cfg),
            engine=engine,
            microbatch_size=microbatch_size,
            weights=clients.weights if clients else None,
            init_unit_state=solver.init_unit_state,
            aggregation=make_aggregation(cfg, hparams, rule) if federal else None,
            make_privatizer=make_privatizer(run_as),
        )
        state, history = run(outer, key)
        counts = {name: jnp.sum(history.steps[name]) for name in SUMMED if name in history.steps}
        counts |= {name: jnp.mean(history.steps[name]) for name in AVERAGED if name in history.steps}
        if local is not None:  # a mean over the accepted clients
            sent = history.steps["cohort_size"] - history.steps["num_rejected"]
            overflows = jnp.round(history.steps[LOCAL_OVERFLOWS] * sent.astype(jnp.float32)).astype(jnp.int32)
            counts["overflowed"] += jnp.sum(overflows, dtype=jnp.int32)
        counts["clip_norm"] = history.steps["clip_norm"][-1]
        own = None
        if federal:
            counts.setdefault("uplink_bytes", jnp.float32(4 * dimension))
            own = _client_accuracies(cfg, solver, state, arrays, batched)
        return Report(history.evaluation_steps, history.evaluations, counts, own)

    return Setup(train, arrays, sampler, run_as)


SUMMED = ("overflowed", "num_rejected", "dropped", "aborted", "wrapped")
AVERAGED = ("aggregation_error", "uplink_bytes", "encrypt_seconds", "add_seconds", "decrypt_seconds")
"""What a run reports of its steps, as a sum or a mean over them."""


def _client_accuracies(cfg: DictConfig, solver: Solver, state: TrainState, arrays: Arrays, batched: Any) -> jax.Array:
    """Each client's accuracy on its own training rows, with its own head where it has one."""
    if cfg.federated.algorithm == "personalized":
        heads = state.unit_states.state if cfg.federated.compression.error_feedback else state.unit_states
        return metrics.evaluate_units(
            batched,
            lambda head: merge_params(state.params.model, head),
            arrays.records,
            *arrays.train,
            states=heads,
        )
    return metrics.evaluate_units(batched, lambda _: solver.model_of(state.params), arrays.records, *arrays.train)


@lru_cache(maxsize=4)
def _load(name: str) -> Dataset:
    return load(name)


def _model(cfg: DictConfig, dataset: Dataset) -> models.Model:
    options = {}
    if cfg.model.name in ("mlp", "text"):
        options["hidden"] = tuple(cfg.model.hidden)
    if cfg.model.name in ("mlp", "cnn", "text"):
        options["activation"] = cfg.model.activation
    if cfg.model.name == "text":
        options |= {"context": cfg.model.context, "embedding": cfg.model.embedding}
    example = jax.ShapeDtypeStruct(dataset.input_shape, dataset.train_inputs.dtype)
    try:
        model = models.build(
            cfg.model.name, num_classes=dataset.num_classes, input_shape=dataset.input_shape, **options
        )
        # A model of numbers refuses characters, and the other way round, only when it is applied.
        jax.eval_shape(lambda x: model.apply(model.init(jax.random.key(0)), x, None), example)
        return model
    except ValueError as error:
        raise ConfigError(f"model={cfg.model.name} with data={cfg.data.name}: {error}") from error


def _sampler(cfg: DictConfig, population: int, sampling_rate: float) -> sampling.Sampler:
    if cfg.optimizer.sampling == "poisson":
        return sampling.poisson_sampler(
            population,
            sampling_rate,
            num_steps=cfg.optimizer.num_steps,
            epsilon=capacity_epsilon(cfg),
            delta=cfg.privacy.delta,
        )
    make = {
        "fixed_size": sampling.fixed_size_sampler,
        "shuffled": sampling.shuffled_sampler,
        "cyclic": sampling.cyclic_sampler,
    }
    return make[cfg.optimizer.sampling](population, max(1, round(sampling_rate * population)))


def adaptive(cfg: DictConfig) -> AdaptiveClipping | None:
    """How the clip norm adapts in a run; None where it stays."""
    if cfg.clipping.name != "adaptive":
        return None
    return adaptive_clipping(cfg.clipping.target_quantile, cfg.clipping.learning_rate, cfg.clipping.count_stddev)


def _rule(cfg: DictConfig) -> clipping.ClippingRule:
    if cfg.clipping.name == "per_layer":
        return clipping.per_layer_clipping()
    if cfg.clipping.name == "automatic":
        return clipping.automatic_clipping(cfg.clipping.stability)
    return clipping.flat_clipping()


def _optimizer(conf: DictConfig, hparams: HParams) -> optax.GradientTransformation:
    if conf.name == "sgd":
        return optax.sgd(hparams.learning_rate, momentum=hparams.momentum)
    squares = {"b2": conf.second_decay, "eps": conf.adaptivity}
    if conf.name == "adamw":
        return optax.adamw(hparams.learning_rate, weight_decay=hparams.weight_decay, **squares)
    return {"adam": optax.adam, "yogi": optax.yogi}[conf.name](hparams.learning_rate, **squares)
