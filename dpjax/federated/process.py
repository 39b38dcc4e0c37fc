"""A federated run round by round, for people who hold the loop themselves."""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key

from dpjax.checks import function, instance, number, optimizer, whole_number
from dpjax.clipping import Aggregation, ClippingRule, SumFactory, clipped_sum
from dpjax.contribution import LossFn
from dpjax.federated.solvers.solver import Solver, fedavg
from dpjax.models import Model, cross_entropy_loss
from dpjax.population import remember
from dpjax.steps import TrainState, make_stepper
from dpjax.types import Cohort, HParams, Metrics, Params, Stateful, check_cohort


class ServerState(NamedTuple):
    """What the server keeps between rounds.

    Attributes:
      train: parameters, optimizer, noise, and what clients remember; see ``TrainState``.
      noise_key, client_key: of the whole run; keep them to yourself.
    """

    train: TrainState
    noise_key: Key[Array, ""]
    client_key: Key[Array, ""]


class FederatedProcess(NamedTuple):
    """A federated run as two functions, both to be jitted.

    Attributes:
      initialize: ``initialize(key) -> ServerState``.
      next: ``next(state, cohort, clients=None) -> (ServerState, metrics)``; the cohort's units are
        ``UnitData(examples [slots, records, ...], mask [slots, records])``. ``clients`` ``[slots]`` are their numbers,
        needed where clients remember something.
      model_of: the parameters in a state.
    """

    initialize: Callable[[Key[Array, ""]], ServerState]
    next: Callable[..., tuple[ServerState, Metrics]]
    model_of: Callable[[ServerState], Params]


def build_federated_averaging_process(
    model: Model,
    client_optimizer: optax.GradientTransformation,
    server_optimizer: optax.GradientTransformation,
    *,
    expected_clients: float,
    num_steps: int | None = None,
    num_epochs: int | None = None,
    batch_size: int | None = None,
    loss_fn: LossFn | None = None,
    clip_norm: float | Float[Array, ""] = math.inf,
    noise_multiplier: float | Float[Array, ""] = 0.0,
    solver: Callable[[LossFn], Solver] | None = None,
    num_clients: int | None = None,
    rule: ClippingRule | None = None,
    aggregation: Aggregation | None = None,
    microbatch_size: int | None = None,
) -> FederatedProcess:
    """Federated averaging in the shape of an iterative process: ``initialize``, then ``next`` once a round.

    The round is the one that ``make_train`` scans over: the same clipping, noise, solvers and aggregations.

    Formal guarantees: one Gaussian mechanism with ``noise_multiplier`` per round on the cohort it is given.
    Amplification by sampling holds only if the cohort was drawn by the sampler you account for, as
    ``dpjax.draw_cohort`` draws one.

    Args:
      model: ``init`` and ``apply``; any pair of functions, see ``dpjax.models.Model``.
      client_optimizer: of local training.
      server_optimizer: applied to the noised mean delta; ``optax.sgd(1.0)`` is FedAvg.
      expected_clients: sampling rate × clients, a public number that the noised sum is divided by.
      num_steps, num_epochs, batch_size: of local training, see ``client_delta``.
      loss_fn: ``loss_fn(params, example, key)`` of ONE example; the cross-entropy of ``model`` if None.
      clip_norm: bound on one client's delta; inf for none.
      noise_multiplier: noise standard deviation / ``clip_norm``.
      solver: loss → another algorithm, such as ``lambda loss: scaffold(loss, ...)``; it has local settings of its own,
        and ``client_optimizer`` and the numbers of steps are then not used.
      num_clients: the population, needed where clients remember something.
      rule, aggregation, microbatch_size: see ``make_train``.

    Raises:
      ValueError: a number out of range, or noise without a finite clip norm.

    Example:
      >>> import optax
      >>> from dpjax import Cohort, UnitData
      >>> from dpjax.models import logistic
      >>> process = build_federated_averaging_process(
      ...     logistic(num_classes=2, input_shape=(3,)), optax.sgd(0.5), optax.sgd(1.0),
      ...     expected_clients=4, num_steps=2, clip_norm=1.0, noise_multiplier=0.1)
      >>> rows = UnitData((jnp.ones((4, 5, 3)), jnp.ones((4, 5), jnp.int32)), jnp.ones((4, 5), bool))
      >>> state = process.initialize(jax.random.key(0))
      >>> state, metrics = jax.jit(process.next)(state, Cohort(rows, jnp.ones(4, bool)))
      >>> print(state.train.step, round(float(metrics["loss"]), 2))
      1 0.41

    References:
      McMahan et al., 2017 (https://arxiv.org/abs/1602.05629).
    """
    instance("model", model, Model, fix="make one, such as logistic(...), or Model(init, apply)")
    optimizer("client_optimizer", client_optimizer)
    optimizer("server_optimizer", server_optimizer)
    for name, given in (("loss_fn", loss_fn), ("solver", solver), ("aggregation", aggregation)):
        if given is not None:
            function(name, given, fix="leave it out, or see build_federated_averaging_process")
    expected_clients = number("expected_clients", expected_clients, above=0, fix="it is sampling rate × clients")
    noise_multiplier = number("noise_multiplier", noise_multiplier, least=0, fix="it is noise stddev / clip_norm")
    clip_norm = number("clip_norm", clip_norm, above=0, finite=False, fix="use inf to turn clipping off")
    if num_clients is not None:
        whole_number("num_clients", num_clients, fix="it is the size of the population")
    concrete = isinstance(noise_multiplier, float) and isinstance(clip_norm, float)
    if concrete and noise_multiplier > 0 and math.isinf(clip_norm):
        raise ValueError(f"clip_norm={clip_norm} bounds nothing, so that no noise hides a client; give a finite one.")
    loss = loss_fn or cross_entropy_loss(model)
    if solver is None:
        algorithm = fedavg(loss, client_optimizer, num_steps=num_steps, num_epochs=num_epochs, batch_size=batch_size)
    else:
        algorithm = solver(loss)
    stateful = algorithm.init_unit_state is not None
    if stateful and num_clients is None:
        raise ValueError("num_clients=None, but these clients remember something; give the size of the population.")
    factory: SumFactory = partial(clipped_sum, rule=rule, microbatch_size=microbatch_size)
    bounded_sum = (factory if aggregation is None else aggregation(factory))(algorithm.contribution_fn)

    def stepper(noise_key: Key[Array, ""]):
        return make_stepper(
            bounded_sum,
            algorithm.wrap_optimizer(server_optimizer),
            HParams(clip_norm=clip_norm, noise_multiplier=noise_multiplier),
            expected_size=expected_clients,
            noise_key=noise_key,
        )

    def initialize(key: Key[Array, ""]) -> ServerState:
        init_key, noise_key, client_key = jax.random.split(key, 3)
        params = algorithm.init(model.init(init_key))
        states = remember(algorithm.init_unit_state, params, num_clients or 0)
        return ServerState(stepper(noise_key).init(params, params, states), noise_key, client_key)

    def next_round(
        state: ServerState, cohort: Cohort, clients: Int[Array, "slots"] | None = None
    ) -> tuple[ServerState, Metrics]:
        check_cohort(cohort)
        if stateful:
            if clients is None:
                raise ValueError("clients=None, but these clients remember something; give the cohort's numbers.")
            own = jax.tree.map(lambda x: x[clients], state.train.unit_states)
            cohort = cohort._replace(units=Stateful(cohort.units, own))
        index = jnp.arange(len(cohort.mask)) if clients is None else clients
        key = jax.random.fold_in(state.client_key, state.train.step)
        train, metrics = stepper(state.noise_key).step(state.train, cohort, index, key)
        return state._replace(train=train), metrics

    return FederatedProcess(initialize, next_round, lambda state: algorithm.model_of(state.train.params))
