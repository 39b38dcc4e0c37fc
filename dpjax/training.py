"""A whole private training run as one jittable scan."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, ArrayLike, Float, Int, Key, PyTree

from dpjax.bucket_sums import bucketed_sum
from dpjax.buckets import Buckets
from dpjax.checks import function, instance, is_traced, number, whole_number
from dpjax.clipping import Aggregation, BoundedSum, ClippingRule, SumFactory, clipped_sum
from dpjax.clipping import adaptive as adapting
from dpjax.contribution import ContributionFn
from dpjax.contributions import gather_records
from dpjax.noise import gaussian_privatizer
from dpjax.population import draw, make_population, remember
from dpjax.sampling import Sampler, check_sampler
from dpjax.steps import MakePrivatizer, TrainState, make_stepper
from dpjax.types import Added, ClippedSum, Cohort, HParams, Metrics, Params, check_key


class History(NamedTuple):
    """What a run reports. ``steps`` is for diagnosis: it is computed from private data and not covered by ε.

    Attributes:
      steps: per step, ``[num_steps]`` each: ``cohort_size``, ``overflowed``, ``num_rejected``, ``clipped_fraction``,
        ``mean_norm``, ``norm_counts`` ``[num_steps, bins]`` (see ``NORM_BIN_EDGES``), ``total_norm`` of the clipped
        sum, ``clip_norm`` (this one is covered by ε), the contribution's own metrics averaged over the cohort, such
        as ``loss``, and what an ``aggregation`` reports.
      evaluation_steps: ``[evaluations]`` the number of steps done at each evaluation; the last is ``num_steps``.
      evaluations: what ``evaluate`` returned, leaves ``[evaluations, ...]``; empty without it.
      unmoved: pytree like the parameters of scalars; True where a leaf ended as it began: no gradient and no noise ever
        reached it.
    """

    steps: Metrics
    evaluation_steps: Int[Array, "evaluations"]
    evaluations: PyTree[Array]
    unmoved: PyTree[Array] = ()


def make_train(
    init_fn: Callable[[Key[Array, ""]], Params],
    contribution_fn: ContributionFn,
    units: PyTree[ArrayLike],
    *,
    sampler: Sampler,
    num_steps: int,
    make_optimizer: Callable[[HParams], optax.GradientTransformation],
    examples: PyTree[ArrayLike] | None = None,
    evaluate: Callable[[Params], PyTree[Array]] | None = None,
    evaluate_every: int | None = None,
    evaluate_params: Callable[[TrainState], Params] | None = None,
    rule: ClippingRule | None = None,
    adaptive: adapting.AdaptiveClipping | None = None,
    engine: str = "auto",
    microbatch_size: int | None = None,
    mesh: Mesh | None = None,
    weights: ArrayLike | Sequence[float] | None = None,
    init_unit_state: Callable[[Params], PyTree[Array]] | None = None,
    aggregation: Aggregation | None = None,
    make_privatizer: MakePrivatizer = gaussian_privatizer,
) -> Callable[[HParams, Key[Array, ""]], tuple[TrainState, History]]:
    """A private training run: sample, clip, sum, add noise once, divide by the expected cohort, update.

    Formal guarantees: the final parameters are the output of the mechanism
    ``Mechanism.from_sampler(sampler, noise_multiplier=hparams.noise_multiplier, num_steps=num_steps, ...)``;
    everything after the noise is post-processing. The history is not covered by it. With ``adaptive`` that noise
    multiplier covers the sum and the count together, so the same mechanism is accounted.

    The same function trains with DP-SGD (``example_gradient``), user-level DP-SGD (``user_gradient``) and
    DP-FedAvg (``client_delta``), with any optax optimizer. It may be called inside a trace, so that what it is
    given can depend on traced hyper-parameters. Under your own ``jax.jit``, pass large arrays as arguments
    and call it inside, or they become constants of the program.

    Args:
      init_fn: key → initial parameters.
      contribution_fn: what one unit sends; its unit is a row of ``units``, or ``UnitData`` if ``examples`` is given.
      units: pytree of the population (NumPy or JAX), leaves ``[population, ...]``; ``Records``, or ``Buckets`` of
        them, if ``examples`` is given.
      sampler: which units take part in a step.
      num_steps: steps (rounds) of the run.
      make_optimizer: hyper-parameters → optax optimizer, applied to the noised mean. It is given no loss: one that
        asks for it (``lbfgs`` with a line search, ``reduce_on_plateau``, ``polyak_sgd``), or for parameters of other
        shapes (``lookahead``), is refused. ``prodigy`` and ``dadapt_adamw`` are NaN after a mean that is all
        zero, as of a cohort of nobody without noise; so is ``adam`` with ``eps=0``, and ``acprop`` jumps far away
        (``findings/optax_prodigy_dadapt_acprop_ruined_by_one_zero_gradient.sh``).
      examples: the data set that ``Records`` point into, leaves ``[rows, ...]``.
      evaluate: parameters → pytree of arrays, such as accuracies on held-out data.
      evaluate_every: steps between evaluations; only after the last step if None.
      evaluate_params: what of the state is evaluated: its ``params`` if None. ``averaged_params`` evaluates the average
        that a ``parameter_ema`` in the optimizer keeps.
      rule: see ``clipped_sum``.
      adaptive: ``adaptive_clipping(...)`` lets the clip norm follow a quantile of the norms, starting at
        ``hparams.clip_norm``; it stays there if None.
      engine: see ``clipped_sum``.
      microbatch_size: see ``clipped_sum``.
      mesh: devices to spread each cohort over, as a mesh of one axis whose size divides the sampler's capacity.
      weights: ``[population]`` public p_k ≥ 0 that sum to 1, of the objective Σ p_k F_k; all equal if None.
      init_unit_state: initial parameters → the state that EVERY unit starts with. Units then reach the contribution
        as ``Stateful(unit, state)``, and it hands over ``metrics["unit_state"] = PerUnit((new_state, True))``. A state
        stays with its unit and is not noised: only the unit itself may see it.
      aggregation: changes how the clipped sum is formed, as ``dpjax.federated.secure_aggregation`` does. If it can
        abort a step, a Poisson sampler has to say with what chance: see ``accounting.abort_probability``.
      make_privatizer: ``(stddev, key) -> optax.GradientTransformation``; the noise on the sum.

    Returns:
      ``train(hparams, key) -> (TrainState, History)``; hparams is ``HParams`` or any NamedTuple that has its
      ``clip_norm`` and ``noise_multiplier``. jit and vmap over both apply.

    Raises:
      TypeError: an argument of a wrong type, as a sampler, a rule or units that are none.
      ValueError: ``num_steps`` or ``evaluate_every`` < 1, more steps than the sampler was made for, weights that don't
        sum to 1, or ``adaptive`` with a rule that has groups or with another privatizer; from ``train``, an aggregation
        that can abort steps of a Poisson sampler without an ``abort_probability``, and concrete hyper-parameters out of
        range, as a ``clip_norm`` below 0, or infinite with noise. Under jit these are traced, and their release is NaN,
        or of units that count as zero: call ``train`` once without jit to be told why.

    Example:
      >>> import jax, jax.numpy as jnp, optax
      >>> from dpjax import HParams, example_gradient, make_train, poisson_sampler
      >>> x = jnp.linspace(-1, 1, 64)
      >>> loss_fn = lambda w, example, key: (w * example[0] - example[1]) ** 2
      >>> train = make_train(
      ...     lambda key: jnp.zeros(()), example_gradient(loss_fn), (x, 3 * x),
      ...     sampler=poisson_sampler(64, 0.5, num_steps=60), num_steps=60,
      ...     make_optimizer=lambda h: optax.sgd(h.learning_rate))
      >>> state, history = jax.jit(train)(HParams(learning_rate=0.5, clip_norm=10.0), jax.random.key(0))
      >>> print(jnp.round(state.params, 2), history.steps["loss"].shape)
      3.0 (60,)

    References:
      Abadi et al., 2016 (https://arxiv.org/abs/1607.00133); McMahan et al., 2018 (https://arxiv.org/abs/1710.06963).
    """
    check_sampler(sampler)
    num_steps = whole_number("num_steps", num_steps, fix="give the steps of the run")
    for name, given in (
        ("init_fn", init_fn),
        ("contribution_fn", contribution_fn),
        ("make_optimizer", make_optimizer),
        ("make_privatizer", make_privatizer),
        ("evaluate", evaluate),
        ("evaluate_params", evaluate_params),
        ("init_unit_state", init_unit_state),
        ("aggregation", aggregation),
    ):
        if given is not None or name in ("init_fn", "contribution_fn", "make_optimizer", "make_privatizer"):
            function(name, given, fix="see make_train for what it is given and returns")
    if rule is not None:
        instance("rule", rule, ClippingRule, fix="make one, such as flat_clipping()")
    if adaptive is not None:
        instance("adaptive", adaptive, adapting.AdaptiveClipping, fix="make one with adaptive_clipping()")
        adaptive = adapting.adaptive_clipping(*adaptive)  # one that was made by hand is held to the same ranges
    if sampler.num_steps is not None and num_steps > sampler.num_steps:
        raise ValueError(
            f"num_steps={num_steps} is more than the {sampler.num_steps} steps that the sampler's capacity was chosen "
            "for; make the sampler for as many steps as the run has."
        )
    if evaluate_every is not None:
        evaluate_every = whole_number("evaluate_every", evaluate_every, fix="leave it out to evaluate at the end")
    if adaptive is not None and rule is not None and rule.groups is not None:
        raise ValueError(
            "adaptive clipping follows the norm over all parameters, but rule.groups clips groups of them; leave out "
            "adaptive or the groups."
        )
    if adaptive is not None and make_privatizer is not gaussian_privatizer:
        raise ValueError(
            "adaptive clipping adds Gaussian noise of its own making; leave out adaptive or make_privatizer."
        )
    every = min(evaluate_every or num_steps, num_steps)
    chosen = evaluate_params or (lambda state: state.params)
    population = make_population(units, weights, sampler)
    contribution = contribution_fn
    if examples is not None:
        contribution = gather_records(contribution_fn, jax.tree.map(jnp.asarray, examples))
    factory: SumFactory = partial(clipped_sum, rule=rule, engine=engine, microbatch_size=microbatch_size, mesh=mesh)
    if isinstance(population.units, Buckets):
        factory = bucketed_sum(factory, population.units)
    bounded_sum = _aborting_as_accounted(
        (factory if aggregation is None else aggregation(factory))(contribution), sampler
    )

    def train(hparams: HParams, key: Key[Array, ""]) -> tuple[TrainState, History]:
        check_key("key", key)
        hparams = _in_range(hparams)
        init_key, sampling_key, contribution_key, noise_key = jax.random.split(key, 4)
        stepper = make_stepper(
            bounded_sum,
            make_optimizer(hparams),
            hparams,
            expected_size=population.expected_size,
            expected_cohort_size=sampler.expected_cohort_size,
            noise_key=noise_key,
            adaptive=adaptive,
            make_privatizer=make_privatizer,
        )

        def one_step(state: TrainState, _: None) -> tuple[TrainState, Metrics]:
            cohort, index, info = draw(population, sampler, sampling_key, state.step, state.unit_states)
            step_key = jax.random.fold_in(contribution_key, state.step)
            state, metrics = stepper.step(state, cohort, index, step_key)
            return state, metrics | {"overflowed": info.overflowed}

        def stretch(state: TrainState, length: int) -> tuple[TrainState, tuple[Metrics, Array, PyTree[Array]]]:
            state, metrics = jax.lax.scan(one_step, state, length=length)
            return state, (metrics, state.step, evaluate(chosen(state)) if evaluate else {})

        def what_is_noised(params: Params) -> Params:
            # A solver's message need not have the shape of all that the run carries.
            def total() -> Params:
                cohort, _, _ = draw(population, sampler, sampling_key, jnp.int32(0), remembered)
                return bounded_sum(params, cohort, contribution_key, hparams.clip_norm).total

            remembered = remember(init_unit_state, params, sampler.population)
            return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(total))

        params = init_fn(init_key)
        noised = what_is_noised(params) if make_privatizer is not gaussian_privatizer else params
        state = stepper.init(params, noised, remember(init_unit_state, params, sampler.population))
        whole, rest = divmod(num_steps, every)
        state, (metrics, at, values) = jax.lax.scan(lambda s, _: stretch(s, every), state, length=whole)
        metrics = jax.tree.map(lambda x: x.reshape(whole * every, *x.shape[2:]), metrics)
        if rest:
            state, tail = stretch(state, rest)
            tail = (tail[0], *jax.tree.map(lambda x: x[None], tail[1:]))
            metrics, at, values = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), (metrics, at, values), tail)
        unmoved = jax.tree.map(lambda before, after: jnp.all(before == after), params, state.params)
        return state, History(metrics, at, values, unmoved)

    return train


def _in_range(hparams: HParams) -> HParams:
    """Known rates of the optimizers, refused out of range: ``optax.sgd(None)`` goes uphill without a word."""
    for name in ("learning_rate", "momentum", "weight_decay", "client_learning_rate"):
        value = getattr(hparams, name, 0.0)
        if is_traced(value):
            continue
        known = number(f"hparams.{name}", value, least=0, fix="give the optimizer a finite rate")
        if isinstance(value, int):  # of any size
            hparams = hparams._replace(**{name: known})
    return hparams


def _aborting_as_accounted(bounded_sum: BoundedSum, sampler: Sampler) -> BoundedSum:
    """The same sum, refused where it can be aborted and the sampler, whose amplification that weakens, says nothing."""

    def fun(params: Params, cohort: Cohort, key: Key[Array, ""], clip_norm: float | Float[Array, ""]) -> ClippedSum:
        out = bounded_sum(params, cohort, key, clip_norm)
        noised_by_server = not isinstance(out.noise, Added)  # clients' own noise is charged without amplification
        silent = sampler.sampling.aborts_tell and sampler.abort_probability is None
        if out.released is not None and noised_by_server and silent:
            raise ValueError(
                "sampler.abort_probability=None, but this aggregation aborts a round in which too few clients answer, "
                "which says who was drawn; use fixed_size_sampler, or replace(sampler, abort_probability="
                "accounting.abort_probability(sampler, num_steps=..., threshold=..., dropout_rate=...)), for the "
                "accountant too."
            )
        return out

    return fun
