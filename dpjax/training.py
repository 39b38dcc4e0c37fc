"""A whole private training run as one jittable scan."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.core import Tracer
from jax.sharding import Mesh
from jaxtyping import Array, ArrayLike, Float, Int, Key, PyTree

from dpjax.clipping import ClippingRule, clipped_sum
from dpjax.clipping import adaptive as adapting
from dpjax.contributions import gather_records
from dpjax.noise import gaussian_privatizer, noise_stddev
from dpjax.sampling import Sampler, draw_cohort
from dpjax.types import ClippedSum, Cohort, ContributionFn, HParams, Metrics, Params


class TrainState(NamedTuple):
    """What a run carries from step to step. All of it is covered by ε, except the key in ``privatizer_state``.

    Attributes:
      params: the parameters.
      optimizer_state: what ``make_optimizer`` keeps.
      privatizer_state: what the noise goes on from; it holds the noise key, so keep it to yourself.
      step: scalar; steps done.
      clip_norm: scalar; the next step's clip norm, which moves if clipping is adaptive.
    """

    params: Params
    optimizer_state: optax.OptState
    privatizer_state: optax.OptState
    step: Int[Array, ""]
    clip_norm: Float[Array, ""]


class History(NamedTuple):
    """What a run reports. ``steps`` is for diagnosis: it is computed from private data and not covered by ε.

    Attributes:
      steps: per step, ``[num_steps]`` each: ``cohort_size``, ``overflowed``, ``num_rejected``, ``clipped_fraction``,
        ``mean_norm``, ``clip_norm`` (this one is covered by ε) and the contribution's own metrics averaged over the
        cohort, such as ``loss``.
      evaluation_steps: ``[evaluations]`` the number of steps done at each evaluation; the last is ``num_steps``.
      evaluations: what ``evaluate`` returned, leaves ``[evaluations, ...]``; empty without it.
    """

    steps: Metrics
    evaluation_steps: Int[Array, "evaluations"]
    evaluations: PyTree[Array]


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
      units: pytree of the population (NumPy or JAX), leaves ``[population, ...]``; ``Records`` if ``examples``
        is given.
      sampler: which units take part in a step.
      num_steps: steps (rounds) of the run.
      make_optimizer: hyper-parameters → optax optimizer, applied to the noised mean.
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

    Returns:
      ``train(hparams, key) -> (TrainState, History)``; hparams is ``HParams`` or any NamedTuple that has its
      ``clip_norm`` and ``noise_multiplier``. jit and vmap over both apply.

    Raises:
      ValueError: ``num_steps`` or ``evaluate_every`` < 1, more steps than the sampler was made for, or ``adaptive``
        with a rule that has groups; from ``train``, concrete hyper-parameters out of range, as a ``noise_multiplier``
        that is too large for ``adaptive``.

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
    if num_steps < 1:
        raise ValueError(f"num_steps={num_steps} must be at least 1.")
    if sampler.num_steps is not None and num_steps > sampler.num_steps:
        raise ValueError(
            f"num_steps={num_steps} is more than the {sampler.num_steps} steps that the sampler's capacity was chosen "
            "for; make the sampler for as many steps as the run has."
        )
    if evaluate_every is not None and evaluate_every < 1:
        raise ValueError(
            f"evaluate_every={evaluate_every} must be at least 1 step; leave it out to evaluate at the end."
        )
    if adaptive is not None and rule is not None and rule.groups is not None:
        raise ValueError(
            "adaptive clipping follows the norm over all parameters, but rule.groups clips groups of them; leave out "
            "adaptive or the groups."
        )
    every = min(evaluate_every or num_steps, num_steps)
    chosen = evaluate_params or (lambda state: state.params)
    units, examples = jax.tree.map(jnp.asarray, (units, examples))
    contribution = contribution_fn if examples is None else gather_records(contribution_fn, examples)
    bounded_sum = clipped_sum(contribution, rule=rule, engine=engine, microbatch_size=microbatch_size, mesh=mesh)

    def train(hparams: HParams, key: Key[Array, ""]) -> tuple[TrainState, History]:
        init_key, sampling_key, contribution_key, noise_key = jax.random.split(key, 4)
        optimizer = make_optimizer(hparams)
        expected_size = sampler.expected_cohort_size
        sum_multiplier, count_stddev = hparams.noise_multiplier, 0.0
        if adaptive is not None:
            adapting.check_initial_clip_norm(hparams.clip_norm)
            sum_multiplier, count_stddev = adapting.split_noise(adaptive, hparams.noise_multiplier, expected_size)
        privatizer = gaussian_privatizer(noise_stddev(sum_multiplier, hparams.clip_norm), noise_key)

        def add_noise(clipped: ClippedSum, cohort: Cohort, state: TrainState) -> tuple[Params, optax.OptState, Array]:
            """(noised sum, privatizer state, clip norm of the next step)"""
            if adaptive is None:
                return *privatizer.update(clipped.total, state.privatizer_state), state.clip_norm
            # One Gaussian mechanism on the pair; its leaves, so sum and count, draw from keys of their own.
            stddevs = noise_stddev(sum_multiplier, state.clip_norm), count_stddev
            pair = clipped.total, adapting.centred_count(clipped.norms, cohort.mask, state.clip_norm)
            noised: Any
            noised, after = gaussian_privatizer(stddevs, noise_key).update(pair, state.privatizer_state)
            total, count = noised
            return total, after, adapting.next_clip_norm(adaptive, state.clip_norm, count, expected_size)

        def one_step(state: TrainState, _: None) -> tuple[TrainState, Metrics]:
            cohort, info = draw_cohort(sampler, sampling_key, state.step, units)
            step_key = jax.random.fold_in(contribution_key, state.step)
            clip_norm = hparams.clip_norm if adaptive is None else state.clip_norm
            clipped = bounded_sum(state.params, cohort, step_key, clip_norm)
            noised, privatizer_state, next_norm = add_noise(clipped, cohort, state)
            mean = jax.tree.map(lambda x: x / expected_size, noised)
            updates, optimizer_state = optimizer.update(mean, state.optimizer_state, state.params)
            params = optax.apply_updates(state.params, updates)
            accepted = jnp.maximum(info.cohort_size - clipped.num_rejected, 1).astype(jnp.float32)
            metrics = {
                **jax.tree.map(lambda x: x / accepted, clipped.aux),
                "cohort_size": info.cohort_size,
                "overflowed": info.overflowed,
                "num_rejected": clipped.num_rejected,
                "clipped_fraction": jnp.sum(clipped.norms > clipped.clip_norm, dtype=jnp.float32) / accepted,
                "mean_norm": jnp.sum(clipped.norms) / accepted,
                "clip_norm": state.clip_norm,
            }
            return TrainState(params, optimizer_state, privatizer_state, state.step + 1, next_norm), metrics

        def stretch(state: TrainState, length: int) -> tuple[TrainState, tuple[Metrics, Array, PyTree[Array]]]:
            state, metrics = jax.lax.scan(one_step, state, length=length)
            return state, (metrics, state.step, evaluate(chosen(state)) if evaluate else {})

        params, clip_norm = init_fn(init_key), jnp.asarray(hparams.clip_norm, jnp.float32)
        state = TrainState(params, optimizer.init(params), privatizer.init(params), jnp.int32(0), clip_norm)
        whole, rest = divmod(num_steps, every)
        state, (metrics, at, values) = jax.lax.scan(lambda s, _: stretch(s, every), state, length=whole)
        metrics = jax.tree.map(lambda x: x.reshape(whole * every, *x.shape[2:]), metrics)
        if rest:
            state, tail = stretch(state, rest)
            tail = (tail[0], *jax.tree.map(lambda x: x[None], tail[1:]))
            metrics, at, values = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), (metrics, at, values), tail)
        return state, History(metrics, at, values)

    return train


def private_grad(
    loss_fn: Callable[..., PyTree[Array]],
    *,
    clip_norm: float | Float[Array, ""],
    noise_multiplier: float | Float[Array, ""],
    expected_batch_size: float,
    rule: ClippingRule | None = None,
    engine: str = "auto",
    microbatch_size: int | None = None,
) -> Callable[..., Params]:
    """A drop-in for ``jax.grad`` on a batch: the clipped, summed, noised gradient divided by the expected batch size.

    For people who hold a training loop of their own. From tf-privacy: ``l2_norm_clip`` is ``clip_norm``. From Opacus:
    ``max_grad_norm`` is ``clip_norm``, and ``noise_multiplier`` and ``expected_batch_size`` are the same.

    Formal guarantees: one Gaussian mechanism with ``noise_multiplier`` on the batch it is given. Amplification by
    sampling holds only if the batch was drawn by the sampler you account for: ``dpjax.poisson_cohort`` draws one.

    Args:
      loss_fn: ``loss_fn(params, example)`` or ``loss_fn(params, example, key)`` → scalar loss (or loss and
        metrics) of ONE example.
      clip_norm: bound on one example's gradient, scalar > 0.
      noise_multiplier: noise standard deviation / ``clip_norm``, scalar ≥ 0.
      expected_batch_size: sampling rate × data set size: a public number, not the length of this batch.
      rule: see ``clipped_sum``.
      engine: see ``clipped_sum``.
      microbatch_size: see ``clipped_sum``.

    Returns:
      ``grad(params, batch, key, mask=None) -> gradient``: ``batch`` is a pytree with leaves ``[batch, ...]``, ``mask``
      ``[batch]`` is False on padding, ``key`` must be fresh at every call.

    Raises:
      ValueError: an argument out of range.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> grad = private_grad(lambda w, x: (w - x) ** 2, clip_norm=1.0, noise_multiplier=0.0, expected_batch_size=2)
      >>> print(grad(jnp.float32(0), jnp.array([0.25, 9.0]), jax.random.key(0)))
      -0.75
    """
    import inspect

    from dpjax.contributions import example_gradient
    from dpjax.types import Cohort

    if not expected_batch_size > 0:
        raise ValueError(f"expected_batch_size={expected_batch_size} must be > 0: sampling rate × data set size.")
    if not isinstance(noise_multiplier, Tracer) and not float(noise_multiplier) >= 0:
        raise ValueError(f"noise_multiplier={noise_multiplier} must be ≥ 0; it is noise stddev / clip_norm.")
    takes_key = len(inspect.signature(loss_fn).parameters) > 2
    keyed = loss_fn if takes_key else lambda params, example, key: loss_fn(params, example)
    bounded_sum = clipped_sum(example_gradient(keyed), rule=rule, engine=engine, microbatch_size=microbatch_size)

    def grad(params: Params, batch: PyTree[Array], key: Key[Array, ""], mask: Array | None = None) -> Params:
        size = jax.tree.leaves(batch)[0].shape[0]
        cohort = Cohort(batch, jnp.ones(size, bool) if mask is None else mask)
        noise_key, loss_key = jax.random.split(key)
        clipped = bounded_sum(params, cohort, loss_key, clip_norm)
        privatizer = gaussian_privatizer(noise_stddev(noise_multiplier, clipped.clip_norm), noise_key)
        noised, _ = privatizer.update(clipped.total, privatizer.init(params))
        return jax.tree.map(lambda x, p: (x / expected_batch_size).astype(p.dtype), noised, params)

    return grad
