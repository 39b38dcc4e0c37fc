"""One step of a private run: clip, sum, add noise once, divide by the expected cohort, update."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Key, PyTree

from dpjax.checks import brief, function, in_one_line, is_traced
from dpjax.checks import optimizer as optimizing
from dpjax.clipping import BoundedSum
from dpjax.clipping import adaptive as adapting
from dpjax.noise import gaussian_privatizer, noise_stddev
from dpjax.norm_bins import NORM_BIN_EDGES
from dpjax.population import take_home
from dpjax.types import Added, ClippedSum, Cohort, HParams, Metrics, NoSensitivity, Params, widened

MakePrivatizer = Callable[[ArrayLike, Key[Array, ""]], optax.GradientTransformation]
"""``make_privatizer(stddev, key)``: what adds noise to a clipped sum."""

Noise = MakePrivatizer | adapting.AdaptiveClipping
"""What noises a run's sums: a privatizer, or adaptive clipping, which noises its count together with the sum."""


def check_noise(noise: Any) -> Noise:
    """The noise itself; adaptive clipping that was made by hand is held to the ranges of ``adaptive_clipping``.

    Raises:
      TypeError: neither a privatizer nor an ``AdaptiveClipping``.
      ValueError: a number of adaptive clipping out of its range.

    Example:
      >>> check_noise(1.0)
      Traceback (most recent call last):
      TypeError: noise=1.0 must be a function; give gaussian_privatizer, partial(correlated_privatizer, \
factorization=...) or adaptive_clipping().
    """
    if isinstance(noise, adapting.AdaptiveClipping):
        return adapting.adaptive_clipping(*noise)
    if noise is adapting.adaptive_clipping or noise is adapting.AdaptiveClipping:
        raise TypeError(f"noise={brief(noise)} must be what that makes; write adaptive_clipping().")
    fix = "give gaussian_privatizer, partial(correlated_privatizer, factorization=...) or adaptive_clipping()"
    function("noise", noise, fix=fix, takes=2)
    return noise


class TrainState(NamedTuple):
    """What a run carries from step to step, covered by ε except ``unit_states`` and the key in ``privatizer_state``.

    Attributes:
      params: the parameters.
      optimizer_state: what ``make_optimizer`` keeps.
      privatizer_state: what the noise goes on from; it holds the noise key, so keep it to yourself.
      step: scalar; steps done.
      clip_norm: scalar; the next step's clip norm, which moves if clipping is adaptive.
      unit_states: what each unit remembers, leaves ``[population, ...]``. It stays with the units: NOT covered by ε.
    """

    params: Params
    optimizer_state: optax.OptState
    privatizer_state: optax.OptState
    step: Int[Array, ""]
    clip_norm: Float[Array, ""]
    unit_states: PyTree[Array] = ()


class StepReport(NamedTuple):
    """What a step says of itself, each under a field of its own. For diagnosis: only ``clip_norm`` is covered by ε.

    Attributes:
      metrics: the contribution's own, averaged over the accepted units of the cohort.
      aggregation: what ``ClippedSum.report`` holds.
      cohort_size, num_rejected: units drawn, and those of them that were not finite.
      clipped_fraction, mean_norm: of the accepted units.
      norm_counts: ``[bins]``; see ``NORM_BIN_EDGES``.
      total_norm: of the clipped sum.
      clip_norm: of this step.
      overflowed: whether the draw held more units than slots; None where the caller drew.
      uplink_bytes: that an accepted unit sent in the mean; None where units say nothing of it.
      local_overflows: within an accepted unit, in the mean; None where units don't draw.
    """

    metrics: Metrics
    aggregation: Metrics
    cohort_size: Int[Array, ""]
    num_rejected: Int[Array, ""]
    clipped_fraction: Float[Array, ""]
    mean_norm: Float[Array, ""]
    norm_counts: Int[Array, "bins"]
    total_norm: Float[Array, ""]
    clip_norm: Float[Array, ""]
    overflowed: Bool[Array, ""] | None = None
    uplink_bytes: Float[Array, ""] | None = None
    local_overflows: Float[Array, ""] | None = None

    def by_name(self) -> Metrics:
        """All of it in one dict, for people: a field stands before a metric of its name, and that before a report's."""
        fields = self._asdict()
        metrics, aggregation = fields.pop("metrics"), fields.pop("aggregation")
        return aggregation | metrics | {name: value for name, value in fields.items() if value is not None}


class Stepper(NamedTuple):
    """The start of a run and its step, with everything that does not change on the way bound to them.

    Attributes:
      init: ``init(params, noised, unit_states) -> TrainState``; ``noised`` has the shapes of what gets noise.
      step: ``step(state, cohort, index, key) -> (TrainState, StepReport)``; ``index``: numbers of the cohort's units.
    """

    init: Callable[[Params, PyTree[Array], PyTree[Array]], TrainState]
    step: Callable[[TrainState, Cohort, Int[Array, "slots"], Key[Array, ""]], tuple[TrainState, StepReport]]


def make_stepper(
    bounded_sum: BoundedSum,
    optimizer: optax.GradientTransformation,
    hparams: HParams,
    *,
    expected_size: float,
    expected_cohort_size: float | None = None,
    noise_key: Key[Array, ""],
    noise: Noise = gaussian_privatizer,
) -> Stepper:
    """What ``make_train`` scans over, and what a federated process takes round by round.

    Formal guarantees: a step releases one noised sum, and whether it was aborted; see ``make_train``. Where
    ``ClippedSum.noise`` is ``Added``, that is the noise: an ``hparams.noise_multiplier`` that is neither 0 nor as large
    is refused, or gives NaN where one of the two is traced, since ε would be computed from the wrong one; where it is
    ``NoSensitivity``, a noise multiplier above 0 is refused, or gives NaN where it is traced. A sum that says that it
    bounds units by more than the clip norm asked for gives NaN, as its noise would be too small. An aborted aggregation
    leaves parameters, optimizer and units' states as they were, but uses its noise up.

    Args:
      bounded_sum: such as ``clipped_sum(...)``.
      optimizer: applied to the noised mean, in at least float32 whatever the parameters' dtype.
      hparams: its ``clip_norm`` and ``noise_multiplier``, traced or not.
      expected_size: public number that the noised sum is divided by.
      expected_cohort_size: units in a cohort, whatever their weights, for adaptive clipping; ``expected_size`` if None.
      noise_key: for the noise of the whole run, and nothing else.
      noise: see ``make_train``.
    """
    sum_multiplier, count_stddev = hparams.noise_multiplier, 0.0
    counted = expected_size if expected_cohort_size is None else expected_cohort_size
    adaptive = noise if isinstance(noise, adapting.AdaptiveClipping) else None
    make_privatizer = gaussian_privatizer if isinstance(noise, adapting.AdaptiveClipping) else noise
    if adaptive is not None:
        adapting.check_initial_clip_norm(hparams.clip_norm)
        sum_multiplier, count_stddev = adapting.split_noise(adaptive, hparams.noise_multiplier, counted)
    privatizer = make_privatizer(noise_stddev(sum_multiplier, hparams.clip_norm), noise_key)
    optimizing("what noise(stddev, key) returns", privatizer)

    def add_noise(clipped: ClippedSum, cohort: Cohort, state: TrainState) -> tuple[Params, optax.OptState, Array]:
        """(noised sum, privatizer state, clip norm of the next step)"""
        if isinstance(clipped.noise, Added):
            if adaptive is not None:
                raise ValueError(
                    "adaptive clipping noises its count with the sum, which clients that add the noise themselves do "
                    "not; leave out adaptive clipping."
                )
            total = _noised_by_clients(clipped.total, clipped.noise, hparams.noise_multiplier)
            return total, state.privatizer_state, state.clip_norm
        if adaptive is None:
            return *privatizer.update(clipped.total, state.privatizer_state), state.clip_norm
        # One Gaussian mechanism on the pair; its leaves, so sum and count, draw from keys of their own.
        stddevs = noise_stddev(sum_multiplier, state.clip_norm), count_stddev
        pair = clipped.total, adapting.centred_count(clipped.norms, cohort.mask, state.clip_norm)
        noised: Any
        noised, after = gaussian_privatizer(stddevs, noise_key).update(pair, state.privatizer_state)
        total, count = noised
        return total, after, adapting.next_clip_norm(adaptive, state.clip_norm, count, counted)

    optimizing("the optimizer", optimizer)

    def init(params: Params, noised: PyTree[Array], unit_states: PyTree[Array]) -> TrainState:
        clip_norm = jnp.asarray(hparams.clip_norm, jnp.float32)
        start, noise = optimizer.init(widened(params)), privatizer.init(noised)
        return TrainState(params, start, noise, jnp.int32(0), clip_norm, unit_states)

    def step(
        state: TrainState, cohort: Cohort, index: Int[Array, "slots"], key: Key[Array, ""]
    ) -> tuple[TrainState, StepReport]:
        clip_norm = hparams.clip_norm if adaptive is None else state.clip_norm
        clipped = bounded_sum(state.params, cohort, key, clip_norm)
        if adaptive is not None and clipped.clipped_by is not None and clipped.clipped_by.rule.groups is not None:
            raise ValueError(
                "adaptive clipping follows the norm over all parameters, but rule.groups clips groups of them; leave "
                "out adaptive clipping or the groups."
            )
        if isinstance(clipped.noise, NoSensitivity):
            clipped = clipped._replace(total=_never_noised(clipped.total, hparams.noise_multiplier))
        elif clipped.noise is None:
            clipped = clipped._replace(total=_noised_enough(clipped, clip_norm, hparams.noise_multiplier))
        noised, privatizer_state, next_norm = add_noise(clipped, cohort, state)
        mean = jax.tree.map(lambda x: x / expected_size, noised)
        moved, optimizer_state = _moved(optimizer, mean, state)
        params = jax.tree.map(lambda x, old: x.astype(old.dtype), moved, state.params)
        cohort_size = jnp.sum(cohort.mask, dtype=jnp.int32)
        accepted = jnp.maximum(cohort_size - clipped.num_rejected, 1).astype(jnp.float32)
        means = jax.tree.map(lambda x: x / accepted, (clipped.aux, clipped.uplink_bytes, clipped.local_overflows))
        report = StepReport(
            metrics=means[0],
            aggregation=dict(clipped.report),
            cohort_size=cohort_size,
            num_rejected=clipped.num_rejected,
            clipped_fraction=jnp.sum(clipped.norms > clipped.clip_norm, dtype=jnp.float32) / accepted,
            mean_norm=jnp.sum(clipped.norms) / accepted,
            norm_counts=_norm_counts(clipped, cohort),
            total_norm=optax.tree.norm(clipped.total),
            clip_norm=state.clip_norm,
            uplink_bytes=means[1],
            local_overflows=means[2],
        )
        unit_states = take_home(state.unit_states, index, clipped)
        after = TrainState(params, optimizer_state, privatizer_state, state.step, next_norm, unit_states)
        released = clipped.released
        if released is not None:
            after = jax.tree.map(lambda new, old: jnp.where(released, new, old), after, state)
            after = after._replace(privatizer_state=privatizer_state)
        return after._replace(step=state.step + 1), report

    return Stepper(init, step)


def _moved(optimizer: optax.GradientTransformation, mean: Params, state: TrainState) -> tuple[Params, optax.OptState]:
    """Parameters and optimizer after one update, or in one sentence why there is none."""
    wide, before = widened(state.params), state.optimizer_state
    try:
        updates, after = optimizer.update(mean, before, wide)
        moved = optax.apply_updates(wide, updates)
    except (TypeError, ValueError, AttributeError, LookupError, NotImplementedError) as error:
        why = f"{type(error).__name__}: {in_one_line(str(error), 200)}"
    else:
        if _shapes(moved) == _shapes(wide) and _shapes(after) == _shapes(before):
            return moved, after
        why = "it gives parameters or a state of other shapes or dtypes than it was given"
    raise TypeError(
        f"the optimizer can't go on from a noised mean and parameters alone ({why}); use one that is given no loss, "
        "which is private, and parameters of the model's own shapes, such as optax.adam."
    )


def _shapes(tree: PyTree) -> tuple[Any, list[Any]]:
    return jax.tree.structure(tree), [(jnp.shape(x), jnp.result_type(x)) for x in jax.tree.leaves(tree)]


def _norm_counts(clipped: ClippedSum, cohort: Cohort) -> Int[Array, "bins"]:
    """How many of the cohort's norms lie between NORM_BIN_EDGES, in clip norms where they are clipped."""
    scale = jnp.where(jnp.isfinite(clipped.clip_norm), clipped.clip_norm, 1.0)
    reached = clipped.norms[:, None] >= scale * jnp.asarray(NORM_BIN_EDGES, jnp.float32)[None]
    at_least = jnp.sum(reached & cohort.mask[:, None], axis=0, dtype=jnp.int32)
    size = jnp.sum(cohort.mask, dtype=jnp.int32)[None]
    return -jnp.diff(jnp.concatenate([size, at_least, jnp.zeros_like(size)]))


def _noised_enough(
    clipped: ClippedSum, clip_norm: float | Float[Array, ""], noise_multiplier: float | Float[Array, ""]
) -> Params:
    """The sum; NaN if it bounds units by more than the clip norm that noise is about to be made for."""
    enough = (clipped.clip_norm <= clip_norm) | (noise_multiplier == 0)
    return jax.tree.map(lambda x: jnp.where(enough, x, jnp.nan), clipped.total)


def _noised_by_clients(total: Params, noise: Added, noise_multiplier: float | Float[Array, ""]) -> Params:
    """The sum that clients noised; NaN if a run is told of another noise, whose ε would be taken for its own."""
    if not is_traced(noise_multiplier) and float(noise_multiplier) == 0:
        return total
    if not is_traced(noise_multiplier) and not is_traced(noise.multiplier):
        mine, asked = float(noise.multiplier), float(noise_multiplier)
        if not math.isclose(mine, asked, rel_tol=1e-6):
            raise ValueError(
                f"noise_multiplier={asked:g} is added by nobody, as the aggregation's clients add noise of "
                f"{mine:g} themselves; give both the same, or leave this one at 0."
            )
    same = jnp.isclose(noise.multiplier, noise_multiplier, rtol=1e-6, atol=0.0)
    return jax.tree.map(lambda x: jnp.where(same | (noise_multiplier == 0), x, jnp.nan), total)


def _never_noised(total: Params, noise_multiplier: float | Float[Array, ""]) -> Params:
    """The sum of an aggregation that has no sensitivity: noise would only look like privacy."""
    if not is_traced(noise_multiplier) and float(noise_multiplier) != 0:
        raise ValueError(
            f"noise_multiplier={float(noise_multiplier)} with an aggregation whose sum has no sensitivity, so that no "
            "noise makes it private; set it to 0, or sum plainly."
        )
    return jax.tree.map(lambda x: jnp.where(noise_multiplier == 0, x, jnp.nan), total)
