"""From a config to what runs: dataset → units → sampler → solver → sum → noise → optimizer → train → report."""

import math
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dpjax import clipping, contributions, sampling
from dpjax.accounting import Mechanism
from dpjax.arrow_units import arrow_units
from dpjax.clipping.adaptive import AdaptiveClipping, adaptive_clipping
from dpjax.datasets import Dataset
from dpjax.datasets.entries import StoredRows
from dpjax.datasets.selection import num_owners
from dpjax.federated import Solver
from dpjax.kept_lanes import InStretches
from dpjax.population import Population
from dpjax.steps import TrainState
from dpjax.stored_units import StoredUnits
from dpjax.stretches import History, Progress, Train
from dpjax.training import Evaluation, make_train
from dpjax.types import HParams, at_least_float32
from experiments.config import ClippingConf, Config
from experiments.engine_choice import tuned
from experiments.federated import (
    Clients,
    compressed,
    make_aggregation,
    make_clients,
    make_solver,
    message_size,
    refuse_personal,
)
from experiments.identity import capacity_epsilon
from experiments.lane_report import Arrays, Report, kept_params, make_report
from experiments.memory import refuse_partition, refuse_run
from experiments.optimizer import make_optimizer
from experiments.own_sampler import own_sampler
from experiments.own_scores import OwnScores, own_scores
from experiments.plugins import load_plugin, own_rule, try_optimizer, try_rule
from experiments.privacy import abort_probability, count_parameters, local_sampler, make_privatizer, mechanism_of
from experiments.problems.choice import make_problem
from experiments.problems.problem import Problem
from experiments.task import Tell


class Setup(NamedTuple):
    """A static signature made real: what jobs of one group share.

    Attributes:
      train: ``(arrays, hparams, key) → Report``; pure.
      stretches: the same run, which can be kept between them.
      arrays: its data.
      sampler: of the cohorts.
      mechanism: of the run, before its noise is known.
      protected: who draws what ε protects: the cohorts' sampler, or a client's of its own rows.
      num_units: what ε protects; fewer than the sampler draws from, where it draws an owner's records one by one.
      problem: data and model.
      num_parameters: numbers that are trained.
      rule: of clipping.
      read: the hyper-parameters that a plugin's optimizer depends on; None: the optimizer is the config's.
      scores: of a plugin, of the test rows; None: it has none.
      make_learner: ``(hparams, frozen) → Solver``: the algorithm.
      make_optimizer: ``hparams → optax optimizer`` of the server, or of the run.
    """

    train: Callable[..., Any]
    stretches: InStretches
    arrays: Arrays
    sampler: sampling.Sampler
    mechanism: Mechanism
    protected: sampling.Sampler
    num_units: int
    problem: Problem
    num_parameters: int
    rule: clipping.ClippingRule
    read: frozenset[str] | None
    scores: OwnScores | None
    make_learner: "MakeLearner"
    make_optimizer: Callable[[HParams], optax.GradientTransformation]


class Elsewhere(NamedTuple):
    """A federation whose rows are not here: what is known of them without them.

    Attributes:
      problem: of a data set of the same shapes.
      clients: who there is; rows that they name are in other hands.
    """

    problem: Problem
    clients: Clients


def build(cfg: Config, tell: Tell = lambda stage, done, total: None, elsewhere: Elsewhere | None = None) -> Setup:
    """Load the data, build the model and the sampler, and tie them into one training function.

    Args:
      cfg: of the group of jobs.
      tell: hears what takes long.
      elsewhere: in the place of data; None: load it. What is made of it must not be trained.

    Raises:
      ValueError: what can't be run, in one sentence.
    """
    problem = make_problem(cfg, tell) if elsewhere is None else elsewhere.problem
    tell("preparing the run", 0, 1)
    units = _units(cfg, problem.dataset) if elsewhere is None else _of_clients(cfg, problem.dataset, elsewhere.clients)
    plugin = load_plugin(cfg.plugin)  # once: an edit while it is compiled is none of this run's
    sampler = own_sampler(cfg, plugin, units.population, units.sampling_rate) or _sampler(cfg, units)
    arrays = _arrays(problem, units)
    rule = rule_of(cfg.plugin, cfg.clipping)
    scores = own_scores(cfg.plugin, plugin, problem)
    local = local_sampler(
        cfg.privacy, cfg.federated, num_steps=cfg.optimizer.num_steps, most_records=units.most_records
    )
    protected = local or sampler

    def plain_solver(hparams: HParams, frozen: Any) -> Solver:
        loss_fn = problem.loss_fn(frozen)
        if units.clients is None:
            return Solver(contributions.example_gradient(loss_fn))
        return make_solver(
            cfg.federated,
            loss_fn,
            hparams,
            is_private=cfg.privacy.is_private,
            participation=sampler.sampling_rate,
            local_sampler=local,
            rule=rule,
            clients=units.clients,
        )

    if cfg.is_federated and cfg.federated.algorithm == "personalized":
        refuse_personal(cfg.federated.personal, jax.eval_shape(problem.init, arrays.frozen, jax.random.key(0)))
    sent = _message(plain_solver, problem, arrays)
    size = count_parameters(sent)
    refuse_run(cfg, num_parameters=size, slots=sampler.capacity, clients=units.clients.number if units.clients else 0)

    def make_learner(hparams: HParams, frozen: Any) -> Solver:
        return compressed(cfg.federated.compression, plain_solver(hparams, frozen), size)

    def optimizer(hparams: HParams) -> optax.GradientTransformation:
        return make_optimizer(cfg.optimizer, hparams, sampler.expected_cohort_size, cfg.plugin, plugin)

    planned = mechanism_of(
        cfg.privacy,
        cfg.federated,
        sampler,
        num_steps=cfg.optimizer.num_steps,
        unit=units.unit,
        dimension=message_size(cfg.federated.compression, size),
        local_sampler=local,
        released=problem.dataset.released,
    )
    if cfg.engine == "tuned":
        tell("measuring which engine is faster", 0, 1)
    engine, microbatch_size = _engine(cfg, make_learner, problem, arrays, sampler.capacity, rule)

    def bound(arrays: Arrays, hparams: HParams) -> tuple[Train, HParams]:
        def evaluate(params: Any) -> Any:
            split = {"train": arrays.train, "test": arrays.test, "validation": arrays.validation}
            return {
                name: problem.evaluate(arrays.frozen, params, rows) for name, rows in split.items() if rows is not None
            }

        solver, outer = make_learner(hparams, arrays.frozen), hparams
        if local is not None:  # what clients send is private already
            outer = hparams._replace(clip_norm=math.inf, noise_multiplier=0.0)
        meeting = make_aggregation(cfg.federated, cfg.privacy, hparams) if units.clients else problem.by_length
        run = make_train(
            lambda key: problem.init(arrays.frozen, key),
            solver,
            Population(units.stored or arrays.units, arrays.examples, units.clients.weights if units.clients else None),
            sampler=sampler,
            num_steps=cfg.optimizer.num_steps,
            make_optimizer=optimizer,
            sum_factory=clipping.Summing(rule, meeting, clipping.Engine(engine, microbatch_size)),
            noise=adaptive(cfg.clipping) or make_privatizer(planned.factorization),
            evaluation=Evaluation(
                evaluate, cfg.optimizer.evaluate_every, lambda state: kept_params(cfg.optimizer, state)
            ),
        )
        return run, outer

    def report(arrays: Arrays, hparams: HParams, ended: tuple[TrainState, History]) -> Report:
        solver, noise = make_learner(hparams, arrays.frozen), hparams.noise_multiplier
        return make_report(cfg, problem, solver, arrays, *ended, noise_multiplier=noise, size=size)

    def train(arrays: Arrays, hparams: HParams, key: jax.Array) -> Report:
        run, outer = bound(arrays, hparams)
        return report(arrays, hparams, run(outer, key))

    def begin(arrays: Arrays, hparams: HParams, key: jax.Array) -> Progress:
        run, outer = bound(arrays, hparams)
        return run.begin(outer, key)

    def advance(
        arrays: Arrays, progress: Progress, start: Any, stop: Any, hparams: HParams, key: jax.Array
    ) -> Progress:
        run, outer = bound(arrays, hparams)
        return run.advance(progress, start, stop, outer, key)

    def finish(arrays: Arrays, progress: Progress, hparams: HParams, key: jax.Array) -> Report:
        run, outer = bound(arrays, hparams)
        return report(arrays, hparams, run.finish(progress, outer, key))

    read = _read_by_plugin(cfg.plugin, plugin, optimizer, make_learner, problem, arrays, (rule, sent))
    num_units = units.num_owners or protected.population
    stretches = InStretches(begin, advance, finish, cfg.optimizer.num_steps)
    return Setup(
        train,
        stretches,
        arrays,
        sampler,
        planned,
        protected,
        num_units,
        problem,
        size,
        rule,
        read,
        scores,
        make_learner,
        optimizer,
    )


class _Units(NamedTuple):
    """Whom ε protects, and what cohorts are drawn from.

    Attributes:
      unit: of privacy: example, user or client.
      data: pytree of units.
      rows: inputs and labels that are trained on.
      population: units that cohorts are drawn from.
      sampling_rate: expected share of them in a cohort.
      clients: None if central.
      num_owners: units, where cohorts are drawn of their records one by one; None: units are drawn.
      stored: units that stay on disk, in the place of ``data``; None: there are none.
    """

    unit: str
    data: Any
    rows: tuple[np.ndarray, np.ndarray]
    population: int
    sampling_rate: float
    clients: Clients | None = None
    num_owners: int | None = None
    stored: StoredUnits | None = None

    @property
    def most_records(self) -> int:
        return 0 if self.clients is None else self.clients.most_records


def _units(cfg: Config, dataset: Dataset) -> _Units:
    rows = (dataset.train_inputs, dataset.train_labels)
    if dataset.stored is not None:
        stored = _stored(dataset.stored)
        return _Units("example", (), rows, stored.size, cfg.optimizer.sampling_rate, stored=stored)
    if not cfg.is_federated:
        owners = None if cfg.privacy.records_per_unit is None else num_owners(dataset)
        unit = "example" if owners is None else "user"
        return _Units(unit, rows, rows, len(rows[1]), cfg.optimizer.sampling_rate, num_owners=owners)
    refuse_partition(cfg)
    return _of_clients(cfg, dataset, make_clients(cfg.federated, dataset))


def _of_clients(cfg: Config, dataset: Dataset, clients: Clients) -> _Units:
    rows = (dataset.train_inputs, dataset.train_labels)
    unit = "user" if cfg.federated.algorithm == "fedsgd" else "client"
    rate = cfg.federated.expected_clients / clients.number
    return _Units(unit, clients.units, (rows[0], clients.labels), clients.number, rate, clients)


def _stored(rows: StoredRows) -> StoredUnits:
    """Rows of a file as the pairs of input and label that they are in memory."""
    mapped = arrow_units(rows.path, ["x", "y"])

    def take(index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = mapped.take(index)
        return found["x"], found["y"]

    return StoredUnits((mapped.like["x"], mapped.like["y"]), mapped.size, take)


def _sampler(cfg: Config, units: _Units) -> sampling.Sampler:
    sampler = sampling.SAMPLERS[cfg.optimizer.sampling].at_rate(
        units.population,
        units.sampling_rate,
        num_steps=cfg.optimizer.num_steps,
        epsilon=capacity_epsilon(cfg.privacy),
        delta=cfg.privacy.delta,
    )
    if units.clients is None:
        return sampler
    return replace(sampler, abort_probability=abort_probability(cfg.federated, sampler, cfg.optimizer.num_steps))


def _arrays(problem: Problem, units: _Units) -> Arrays:
    put = jnp.asarray
    clients = units.clients
    return Arrays(
        units=jax.tree.map(put, units.data),
        examples=None if clients is None else jax.tree.map(put, units.rows),
        train=problem.train_rows,
        test=problem.test_rows,
        validation=problem.validation_rows,
        records=None if clients is None else clients.records,
        labels=None if clients is None else put(problem.dataset.train_labels),
        frozen=jax.device_put(problem.frozen, may_alias=True),  # weights of gigabytes: not twice
    )


MakeLearner = Callable[[HParams, Any], Solver]
"""``(hparams, frozen) → Solver``."""


def _message(make_learner: MakeLearner, problem: Problem, arrays: Arrays) -> Any:
    """Shapes of what a unit sends before it is compressed."""

    def message(frozen: Any, key: jax.Array) -> Any:
        solver = make_learner(HParams(), frozen)
        return solver.message_like(solver.init(problem.init(frozen, key)))

    return jax.eval_shape(message, arrays.frozen, jax.random.key(0))


def _engine(
    cfg: Config, make_learner: MakeLearner, problem: Problem, arrays: Arrays, slots: int, rule: clipping.ClippingRule
) -> tuple[str, int | None]:
    """The engine and microbatch size of the config, or the fastest here if it leaves that to the clock."""
    if cfg.engine != "tuned":
        return cfg.engine, cfg.microbatch_size
    solver = make_learner(HParams(), arrays.frozen)
    start = solver.init(jax.jit(problem.init)(arrays.frozen, jax.random.key(0)))
    return tuned(solver, start, arrays.units, arrays.examples, slots, rule)


def _read_by_plugin(
    name: str,
    plugin: ModuleType | None,
    optimizer: Callable[[HParams], optax.GradientTransformation],
    make_learner: MakeLearner,
    problem: Problem,
    arrays: Arrays,
    ruled: tuple[clipping.ClippingRule, Any],
) -> frozenset[str] | None:
    """Try what a plugin has; the hyper-parameters that its optimizer depends on, None if it has none."""
    if hasattr(plugin, "clipping_rule"):
        try_rule(name, *ruled)
    if not hasattr(plugin, "make_optimizer"):
        return None
    return try_optimizer(optimizer, name, _moved_by_server(make_learner(HParams(), arrays.frozen), problem, arrays))


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


def adaptive(conf: ClippingConf) -> AdaptiveClipping | None:
    """How the clip norm adapts in a run; None where it stays."""
    if conf.name != "adaptive":
        return None
    return adaptive_clipping(conf.target_quantile, conf.learning_rate, conf.count_stddev)


def rule_of(plugin: str, conf: ClippingConf) -> clipping.ClippingRule:
    """The clipping rule of a run: the plugin's, or the config's."""
    plugins = own_rule(plugin)
    if plugins is not None:
        return plugins
    match conf.name:
        case "per_layer":
            return clipping.per_layer_clipping()
        case "automatic":
            return clipping.automatic_clipping(conf.stability)
        case _:
            return clipping.flat_clipping()
