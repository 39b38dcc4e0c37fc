"""A federated run round by round, for people who hold the loop themselves."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key

from dpjax.checks import brief, instance, number, optimizer, whole_number
from dpjax.clipping import AdaptiveClipping, BoundedSum, SumFactory, Summing
from dpjax.clipping.factory import check_sum_factory, made_sum
from dpjax.contribution import ContributionFn
from dpjax.federated.compression import check_shapes
from dpjax.models import Model
from dpjax.noise import gaussian_privatizer
from dpjax.population import remember
from dpjax.ranges import CLIP_NORM, NOISE_MULTIPLIER
from dpjax.renamed import renamed
from dpjax.solver import Solver, as_solver
from dpjax.steps import Noise, TrainState, check_noise, make_stepper
from dpjax.types import ClippedSum, Cohort, HParams, Metrics, Params, Stateful, check_cohort, check_key


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

    Formal guarantees: those of ``build_federated_averaging_process``.

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


@renamed(
    client_optimizer="learner=fedavg(loss_fn, client_optimizer, num_steps=...)",
    num_steps="learner=fedavg(loss_fn, client_optimizer, num_steps=...)",
    num_epochs="learner=fedavg(loss_fn, client_optimizer, num_epochs=...)",
    batch_size="learner=fedavg(loss_fn, client_optimizer, num_steps=..., batch_size=...)",
    loss_fn="learner=fedavg(loss_fn, client_optimizer, num_steps=...)",
    solver="learner=..., a Solver such as scaffold(loss_fn, ...)",
    rule="sum_factory=Summing(rule=...)",
    aggregation="sum_factory=Summing(aggregation=...)",
    microbatch_size="sum_factory=Summing(engine=Engine(microbatch_size=...))",
)
def build_federated_averaging_process(
    model: Model,
    learner: ContributionFn | Solver,
    server_optimizer: optax.GradientTransformation,
    *,
    expected_clients: float,
    clip_norm: float | Float[Array, ""] = math.inf,
    noise_multiplier: float | Float[Array, ""] = 0.0,
    sum_factory: SumFactory = Summing(),  # noqa: B008 - frozen
    noise: Noise = gaussian_privatizer,
    num_clients: int | None = None,
) -> FederatedProcess:
    """Federated averaging in the shape of an iterative process: ``initialize``, then ``next`` once a round.

    The round is the one that ``make_train`` scans over, of the same objects: solver, sum and noise.

    Formal guarantees: with the default ``noise``, one Gaussian mechanism with ``noise_multiplier`` per round on the
    cohort it is given; with another, what that says of itself, such as ``correlated_privatizer``. Amplification by
    sampling holds only if the cohort was drawn by the sampler you account for, as ``dpjax.draw_cohort`` draws one.

    Args:
      model: ``init`` and ``apply``; any pair of functions, see ``dpjax.models.Model``.
      learner: what a client sends, such as ``fedavg(cross_entropy_loss(model), optax.sgd(0.5), num_steps=2)`` or
        another ``Solver``; see ``make_train``.
      server_optimizer: applied to the noised mean delta; ``optax.sgd(1.0)`` is FedAvg.
      expected_clients: sampling rate × clients, a public number that the noised sum is divided by. If cohorts have
        weights, which are p_k / max p of public p_k: sampling rate / max p, so that the mean is over all p_k.
      clip_norm: bound on one client's delta; inf for none.
      noise_multiplier: noise standard deviation / ``clip_norm``.
      sum_factory, noise: see ``make_train``. Noise that remembers takes its shapes from the solver's ``message_like``.
        Adaptive clipping counts ``expected_clients``, so that ``next`` refuses a cohort with weights then.
      num_clients: the population, needed where clients remember something.

    Returns:
      A ``FederatedProcess``; its metrics have no noise: they are for diagnosis, not for release.

    Raises:
      TypeError: an argument of a wrong type, or an argument's old name; from ``next``, under noise that remembers, a
        message of another shape than the solver's ``message_like`` says.
      ValueError: a number out of range, or noise without a finite clip norm; from ``next``, a cohort with
        weights under adaptive clipping, or without the numbers of clients who remember something.

    Example:
      >>> import optax
      >>> from dpjax import Cohort, UnitData
      >>> from dpjax.federated import fedavg
      >>> from dpjax.models import cross_entropy_loss, logistic
      >>> model = logistic(num_classes=2, input_shape=(3,))
      >>> process = build_federated_averaging_process(
      ...     model, fedavg(cross_entropy_loss(model), optax.sgd(0.5), num_steps=2), optax.sgd(1.0),
      ...     expected_clients=4, clip_norm=1.0, noise_multiplier=0.1)
      >>> rows = UnitData((jnp.ones((4, 5, 3)), jnp.ones((4, 5), jnp.int32)), jnp.ones((4, 5), bool))
      >>> state = process.initialize(jax.random.key(0))
      >>> state, metrics = jax.jit(process.next)(state, Cohort(rows, jnp.ones(4, bool)))
      >>> print(state.train.step, round(float(metrics["loss"]), 2))
      1 0.41

    References:
      McMahan et al., 2017 (https://arxiv.org/abs/1602.05629).
    """
    instance("model", model, Model, fix="make one, such as logistic(...), or Model(init, apply)")
    optimizer("server_optimizer", server_optimizer)
    check_sum_factory(sum_factory)
    solver, noise = as_solver(learner), check_noise(noise)
    expected_clients = number("expected_clients", expected_clients, above=0, fix="it is sampling rate × clients")
    noise_multiplier = NOISE_MULTIPLIER.number("noise_multiplier", noise_multiplier)
    clip_norm = CLIP_NORM.number("clip_norm", clip_norm)
    if num_clients is not None:
        whole_number("num_clients", num_clients, fix="it is the size of the population")
    concrete = isinstance(noise_multiplier, float) and isinstance(clip_norm, float)
    if concrete and noise_multiplier > 0 and math.isinf(clip_norm):
        raise ValueError(f"clip_norm={clip_norm} bounds nothing, so that no noise hides a client; give a finite one.")
    stateful = solver.init_unit_state is not None
    if stateful and num_clients is None:
        raise ValueError("num_clients=None, but these clients remember something; give the size of the population.")
    remembers = noise is not gaussian_privatizer and not isinstance(noise, AdaptiveClipping)
    bounded_sum = made_sum(sum_factory, solver.contribution_fn)
    if remembers:
        bounded_sum = _shaped_as_said(bounded_sum, solver)

    def stepper(noise_key: Key[Array, ""]):
        return make_stepper(
            bounded_sum,
            solver.wrap_optimizer(server_optimizer),
            HParams(clip_norm=clip_norm, noise_multiplier=noise_multiplier),
            expected_size=expected_clients,
            noise_key=noise_key,
            noise=noise,
        )

    def initialize(key: Key[Array, ""]) -> ServerState:
        check_key("key", key)
        init_key, noise_key, client_key = jax.random.split(key, 3)
        params = solver.init(model.init(init_key))
        states = remember(solver.init_unit_state, params, num_clients or 0)
        return ServerState(stepper(noise_key).init(params, solver.message_like(params), states), noise_key, client_key)

    def next_round(
        state: ServerState, cohort: Cohort, clients: Int[Array, "slots"] | None = None
    ) -> tuple[ServerState, Metrics]:
        check_cohort(cohort)
        if cohort.weights is not None and isinstance(noise, AdaptiveClipping):
            raise ValueError(
                f"weights are given with noise=adaptive_clipping(...), which counts clients whatever they weigh, and "
                f"expected_clients={brief(expected_clients)} is no count of weighted ones; leave out one of the two, "
                "or take make_train with Population(weights=...)."
            )
        if stateful:
            if clients is None:
                raise ValueError("clients=None, but these clients remember something; give the cohort's numbers.")
            memory = jax.tree.map(lambda x: x[clients], state.train.unit_states)
            cohort = cohort._replace(units=Stateful(cohort.units, memory))
        index = jnp.arange(len(cohort.mask)) if clients is None else clients
        key = jax.random.fold_in(state.client_key, state.train.step)
        train, report = stepper(state.noise_key).step(state.train, cohort, index, key)
        return state._replace(train=train), report.by_name()

    return FederatedProcess(initialize, next_round, lambda state: solver.model_of(state.train.params))


def _shaped_as_said(bounded_sum: BoundedSum, solver: Solver) -> BoundedSum:
    """The same sum, refused where it is not shaped as the solver says: noise that remembers was begun in that shape."""

    def fun(params: Params, cohort: Cohort, key: Key[Array, ""], clip_norm: float | Float[Array, ""]) -> ClippedSum:
        out = bounded_sum(params, cohort, key, clip_norm)
        check_shapes(
            solver.message_like(params),
            out.total,
            "the sum is not shaped as learner.message_like says, from which this noise took its shapes; give a Solver "
            "whose message_like returns a tree like what a client sends",
        )
        return out

    return fun
