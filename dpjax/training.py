"""A whole private training run as one jittable scan."""

from collections.abc import Callable
from functools import partial
from operator import attrgetter
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Float, Key, PyTree

from dpjax.accounting import Factorization
from dpjax.bucket_sums import bucketed_sum
from dpjax.buckets import Buckets
from dpjax.checks import function, instance, is_traced, number, whole_number
from dpjax.checks import optimizer as check_optimizer
from dpjax.clipping import AdaptiveClipping, BoundedSum, SumFactory, Summing
from dpjax.clipping.factory import check_sum_factory, made_sum
from dpjax.clipping.layout import like_params
from dpjax.contribution import ContributionFn
from dpjax.contributions import gather_records
from dpjax.noise import gaussian_privatizer
from dpjax.population import Population, draw, remember, weigh_units
from dpjax.ranges import NUM_STEPS
from dpjax.renamed import called_elsewhere, renamed
from dpjax.sampling import Sampler, check_sampler
from dpjax.solver import Solver, as_solver
from dpjax.steps import Noise, StepReport, TrainState, check_noise, make_stepper
from dpjax.stored_units import StoredUnits
from dpjax.stretches import Bound, Train
from dpjax.types import Added, ClippedSum, Cohort, HParams, Params, check_hparams, check_key


class Evaluation(NamedTuple):
    """What a run looks at on its way.

    Attributes:
      evaluate: the model's parameters → pytree of arrays, such as accuracies on held-out data.
      every: steps between evaluations; only after the last step if None.
      params: what of the state is evaluated: its ``params`` if None. ``averaged_params`` evaluates the average that a
        ``parameter_ema`` in the optimizer keeps.

    Example:
      >>> Evaluation(lambda params: {"size": jnp.sum(params**2)}, every=10).every
      10
    """

    evaluate: Callable[[Params], PyTree[Array]]
    every: int | None = None
    params: Callable[[TrainState], PyTree[Array]] | None = None


@renamed(
    contribution_fn="learner=...",
    init_unit_state="learner=Solver(contribution_fn, init_unit_state=...)",
    examples="units=Population(units, examples=...)",
    weights="units=Population(units, weights=...)",
    rule="sum_factory=Summing(rule=...)",
    aggregation="sum_factory=Summing(aggregation=...)",
    engine="sum_factory=Summing(engine=Engine(...))",
    microbatch_size="sum_factory=Summing(engine=Engine(microbatch_size=...))",
    mesh="sum_factory=Summing(engine=Engine(mesh=...))",
    adaptive="noise=adaptive_clipping(...)",
    make_privatizer="noise=...",
    evaluate="evaluation=Evaluation(evaluate)",
    evaluate_every="evaluation=Evaluation(evaluate, every=...)",
    evaluate_params="evaluation=Evaluation(evaluate, params=...)",
)
@called_elsewhere(
    max_grad_norm="train(HParams(clip_norm=...), key)",
    l2_norm_clip="train(HParams(clip_norm=...), key)",
    l2_clip_norm="train(HParams(clip_norm=...), key)",
    clip_norm="train(HParams(clip_norm=...), key)",
    noise_multiplier="train(HParams(noise_multiplier=...), key)",
    learning_rate="train(HParams(learning_rate=...), key)",
    optimizer="make_optimizer=lambda hparams: ...",
    batch_size="sampler=poisson_sampler(population, size / population, num_steps=...), its EXPECTED size,",
    sample_rate="sampler=poisson_sampler(population, rate, num_steps=...)",
    sampling_rate="sampler=poisson_sampler(population, rate, num_steps=...)",
    epochs="num_steps=epochs / sampling rate",
    num_epochs="num_steps=epochs / sampling rate",
)
def make_train(
    init_fn: Callable[[Key[Array, ""]], Params],
    learner: ContributionFn | Solver,
    units: PyTree[ArrayLike] | Population | StoredUnits,
    *,
    sampler: Sampler,
    num_steps: int,
    make_optimizer: Callable[[HParams], optax.GradientTransformation],
    sum_factory: SumFactory = Summing(),  # noqa: B008 - frozen
    noise: Noise = gaussian_privatizer,
    evaluation: Evaluation | None = None,
) -> Train:
    """A private training run: sample, clip, sum, add noise once, divide by the expected cohort, update.

    Formal guarantees: the final parameters are the output of the mechanism
    ``Mechanism.from_sampler(sampler, noise_multiplier=hparams.noise_multiplier, num_steps=num_steps, ...)``;
    everything after the noise is post-processing. The history is not covered by it. With adaptive clipping that
    noise multiplier covers the sum and the count together, so the same mechanism is accounted.

    The same function trains with DP-SGD (``example_gradient``), user-level DP-SGD (``user_gradient``) and
    DP-FedAvg (``client_delta``), with any optax optimizer. It may be called inside a trace, so that what it is
    given can depend on traced hyper-parameters. Under your own ``jax.jit``, pass large arrays as arguments
    and call it inside, or they become constants of the program.

    Args:
      init_fn: key → initial parameters.
      learner: what one unit sends, a contribution function; or a ``Solver``, as ``scaffold(...)`` gives one, which also
        says what the run carries, what units remember and how the server's optimizer is wrapped. Its unit is a row of
        the units, or ``UnitData`` if there are ``examples``.
      units: pytree of the population (NumPy or JAX), leaves ``[population, ...]``; or ``Population(units, examples,
        weights)`` for units that are ``Records`` of a shared data set, or that weigh differently; or ``StoredUnits``,
        as ``arrow_units(path)`` gives them, which are read from disk as they are drawn.
      sampler: which units take part in a step.
      num_steps: steps (rounds) of the run.
      make_optimizer: hyper-parameters → optax optimizer, applied to the noised mean. It is given no loss: one that
        asks for it (``lbfgs`` with a line search, ``reduce_on_plateau``, ``polyak_sgd``), or for parameters of other
        shapes (``lookahead``), is refused. ``prodigy`` and ``dadapt_adamw`` are NaN after a mean that is all
        zero, as of a cohort of nobody without noise; so is ``adam`` with ``eps=0``, and ``acprop`` jumps far away
        (``findings/optax_prodigy_dadapt_acprop_ruined_by_one_zero_gradient.sh``).
      sum_factory: how contributions become one clipped sum: ``Summing(rule, aggregation, engine)``, or any function
        from a contribution to its ``BoundedSum``, such as ``clipped_sum``. If its aggregation can abort a step, a
        Poisson sampler has to say with what chance: see ``accounting.abort_probability``.
      noise: on the sum. A privatizer, ``(stddev, key) -> optax.GradientTransformation``: ``gaussian_privatizer``, or
        ``partial(correlated_privatizer, factorization=...)``. Or ``adaptive_clipping(...)``: Gaussian noise under a
        clip norm that follows a quantile of the norms, starting at ``hparams.clip_norm``.
      evaluation: what is evaluated, and when; nothing if None.

    Returns:
      ``train(hparams, key) -> (TrainState, History)``; hparams is ``HParams`` or any NamedTuple that has its
      ``clip_norm`` and ``noise_multiplier``. jit and vmap over both apply. ``train.begin``, ``advance`` and ``finish``
      are the same run in stretches, between which it can be kept.

    Raises:
      TypeError: an argument of a wrong type, as a sampler, a solver or units that are none; an argument's old name.
      ValueError: ``num_steps`` or ``evaluation.every`` < 1, more steps than the sampler was made for, weights that
        don't sum to 1, or a ``factorization`` for units that take part less often than the sampler's; from ``train``,
        adaptive clipping with a rule that has groups, an aggregation that can abort steps of a Poisson sampler without
        an ``abort_probability``, and concrete hyper-parameters out of range, as a ``clip_norm`` below 0, or infinite
        with noise. Under jit these are traced, and their release is NaN, or of units that count as zero: call
        ``train`` once without jit to be told why.

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
    num_steps = NUM_STEPS.known("num_steps", num_steps)
    function("init_fn", init_fn, fix="give init_fn(key), which returns parameters", takes=1)
    function("make_optimizer", make_optimizer, fix="write lambda hparams: optax.sgd(hparams.learning_rate)", takes=1)
    check_sum_factory(sum_factory)
    solver, noise = as_solver(learner), check_noise(noise)
    if sampler.num_steps is not None and num_steps > sampler.num_steps:
        raise ValueError(
            f"num_steps={num_steps} is more than the {sampler.num_steps} steps that the sampler's capacity was chosen "
            "for; make the sampler for as many steps as the run has."
        )
    _check_factorization(noise, sampler, num_steps)
    every, evaluate = _check_evaluation(evaluation, solver, num_steps)
    population = units if isinstance(units, Population) else Population(units)
    weighted = weigh_units(population, sampler)
    contribution = solver.contribution_fn
    if population.examples is not None:
        contribution = gather_records(contribution, jax.tree.map(jnp.asarray, population.examples))
    if isinstance(weighted.units, Buckets):
        bucketing = partial(bucketed_sum, buckets=weighted.units)
        sum_factory = sum_factory.around(bucketing) if isinstance(sum_factory, Summing) else bucketing(sum_factory)
    shards = sum_factory.engine.shards if isinstance(sum_factory, Summing) else None
    bounded_sum = _aborting_as_accounted(made_sum(sum_factory, contribution), sampler)

    def bind(hparams: HParams, key: Key[Array, ""]) -> Bound:
        check_key("key", key)
        check_hparams(hparams)
        hparams = _in_range(hparams)
        init_key, sampling_key, contribution_key, noise_key = jax.random.split(key, 4)
        model_optimizer = make_optimizer(hparams)
        check_optimizer("the optimizer", model_optimizer)
        stepper = make_stepper(
            bounded_sum,
            solver.wrap_optimizer(model_optimizer),
            hparams,
            expected_size=weighted.expected_size,
            expected_cohort_size=sampler.expected_cohort_size,
            noise_key=noise_key,
            noise=noise,
        )

        def laid_out(state: TrainState) -> TrainState:
            if shards is None:
                return state
            moving = state.params, state.optimizer_state, state.privatizer_state
            params, optimizer_state, privatizer_state = like_params(shards, moving, state.params)
            return state._replace(params=params, optimizer_state=optimizer_state, privatizer_state=privatizer_state)

        def one_step(state: TrainState) -> tuple[TrainState, StepReport]:
            cohort, index, info = draw(weighted, sampler, sampling_key, state.step, state.unit_states)
            step_key = jax.random.fold_in(contribution_key, state.step)
            state, report = stepper.step(state, cohort, index, step_key)
            state = laid_out(state)
            return state, report._replace(overflowed=info.overflowed)

        def begin() -> tuple[Params, TrainState]:
            params = solver.init(init_fn(init_key))
            if shards is not None:
                # Their two uses, in the run and in what tells which of them moved, would be rounded each on its own.
                params = jax.lax.optimization_barrier(like_params(shards, params, params))
            remembered = remember(solver.init_unit_state, params, sampler.population)

            # A solver's message need not have the shape of all that the run carries.
            def total() -> Params:
                cohort, _, _ = draw(weighted, sampler, sampling_key, jnp.int32(0), remembered)
                return bounded_sum(params, cohort, contribution_key, hparams.clip_norm).total

            independent = noise is gaussian_privatizer or isinstance(noise, AdaptiveClipping)
            noised = params if independent else jax.eval_shape(total)
            zeros = noised if independent else jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), noised)
            return params, laid_out(stepper.init(params, zeros, remembered))

        return Bound(begin, one_step, evaluate)

    return Train(bind, num_steps, every, weighted.units if isinstance(weighted.units, StoredUnits) else None)


def _check_factorization(noise: Noise, sampler: Sampler, num_steps: int) -> None:
    """Refuse correlated noise that is for other units than the sampler draws, or for fewer steps."""
    factorization = getattr(noise, "keywords", {}).get("factorization")  # of a partial
    if isinstance(factorization, Factorization):
        factorization.check_covers(sampler.sampling.participation(num_steps), sampler.sampling.name)


def _check_evaluation(
    evaluation: Evaluation | None, solver: Solver, num_steps: int
) -> tuple[int, Callable[[TrainState], PyTree[Array]]]:
    """(steps between evaluations, a state → what is evaluated of it)"""
    if evaluation is None:
        return num_steps, lambda state: {}
    instance("evaluation", evaluation, Evaluation, fix="make one, such as Evaluation(evaluate, every=100)")
    function("evaluation.evaluate", evaluation.evaluate, fix="it takes the model's parameters to a pytree of arrays")
    every = num_steps if evaluation.every is None else evaluation.every
    every = whole_number("evaluation.every", every, fix="leave it out to evaluate at the end")
    params = attrgetter("params") if evaluation.params is None else evaluation.params
    function("evaluation.params", params, fix="it takes the state to parameters, as averaged_params does")
    return min(every, num_steps), lambda state: evaluation.evaluate(solver.model_of(params(state)))


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
