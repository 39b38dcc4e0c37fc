"""A run as one scan, or in stretches between which it can be kept: the same steps, by one program for any length."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key, PyTree

from dpjax.steps import StepReport, TrainState
from dpjax.stored_units import StoredUnits
from dpjax.types import HParams, Metrics, Params


class History(NamedTuple):
    """What a run reports. Of its steps it is for diagnosis: computed from private data and not covered by ε.

    ``history.steps`` is ``report`` by name, per step, ``[num_steps]`` each: ``cohort_size``, ``overflowed``,
    ``num_rejected``, ``clipped_fraction``, ``mean_norm``, ``norm_counts`` ``[num_steps, bins]`` (see
    ``NORM_BIN_EDGES``), ``total_norm`` of the clipped sum, ``clip_norm`` (this one is covered by ε), the contribution's
    own metrics averaged over the cohort, such as ``loss``, and what an ``aggregation`` reports.

    Attributes:
      report: what each step said of itself, leaves ``[num_steps, ...]``.
      evaluation_steps: ``[evaluations]`` the number of steps done at each evaluation; the last is ``num_steps``.
      evaluations: what ``evaluate`` returned, leaves ``[evaluations, ...]``; empty without it.
      unmoved: pytree like the parameters of scalars; True where a leaf ended as it began: no gradient and no noise ever
        reached it.
    """

    report: StepReport
    evaluation_steps: Int[Array, "evaluations"]
    evaluations: PyTree[Array]
    unmoved: PyTree[Array] = ()

    @property
    def steps(self) -> Metrics:
        """What the steps said, by name."""
        return self.report.by_name()


class Progress(NamedTuple):
    """A run that is under way: arrays alone, so that it can be kept and gone on with.

    It is no release: ``state`` is covered by ε of as many steps as it has done, and holds the noise key; the rest is
    for diagnosis, and not covered.

    Attributes:
      state: what the run carries.
      report: what each step said of itself, leaves ``[num_steps, ...]``; 0 where none was done.
      evaluation_steps: ``[evaluations]`` as in ``History``; 0 where none was made.
      evaluations: leaves ``[evaluations, ...]``.
    """

    state: TrainState
    report: StepReport
    evaluation_steps: Int[Array, "evaluations"]
    evaluations: PyTree[Array]


class Bound(NamedTuple):
    """A run with its hyper-parameters and its key bound to it.

    Attributes:
      begin: initial parameters, and the state before the first step.
      step: one step.
      evaluate: a state → what is evaluated of it.
    """

    begin: Callable[[], tuple[Params, TrainState]]
    step: Callable[[TrainState], tuple[TrainState, StepReport]]
    evaluate: Callable[[TrainState], PyTree[Array]]


@dataclass(frozen=True, eq=False)
class Train:
    """A whole training run, ``train(hparams, key) -> (TrainState, History)``; made by ``make_train``.

    Formal guarantees: see ``make_train``. A run in stretches does the same steps, wherever it is cut: each draws its
    cohort and its noise by its own number from the run's key, so that a stretch that is done again draws nothing anew.
    Two runs of ``advance`` with other cuts are equal to the last bit on one machine.

    Attributes:
      bind: hyper-parameters and key → the run.
      num_steps: steps of the run.
      every: steps between evaluations.
      stored: units on disk, of which an error while they are read is raised as it is where the run is called outside of
        ``jax.jit``; None: there are none.

    Example:
      >>> import jax, jax.numpy as jnp, optax
      >>> from dpjax import HParams, example_gradient, make_train, poisson_sampler
      >>> x = jnp.linspace(-1, 1, 64)
      >>> train = make_train(
      ...     lambda key: jnp.zeros(()), example_gradient(lambda w, row, key: (w * row[0] - row[1]) ** 2), (x, 3 * x),
      ...     sampler=poisson_sampler(64, 0.5, num_steps=60), num_steps=60,
      ...     make_optimizer=lambda h: optax.sgd(h.learning_rate))
      >>> point = HParams(learning_rate=0.5, clip_norm=10.0), jax.random.key(0)
      >>> begin, advance, finish = jax.jit(train.begin), jax.jit(train.advance), jax.jit(train.finish)
      >>> progress = advance(begin(*point), 0, 25, *point)  # which may be kept here, and another day:
      >>> state, history = finish(advance(progress, 25, 60, *point), *point)
      >>> print(jnp.round(state.params, 2), history.steps["loss"].shape)
      3.0 (60,)
    """

    bind: Callable[[HParams, Key[Array, ""]], Bound]
    num_steps: int
    every: int
    stored: StoredUnits | None = None

    def __call__(self, hparams: HParams, key: Key[Array, ""]) -> tuple[TrainState, History]:
        """The whole run, as one scan."""
        if self.stored is None:
            return self._whole(hparams, key)
        return self.stored.plainly(lambda: self._whole(hparams, key))

    def _whole(self, hparams: HParams, key: Key[Array, ""]) -> tuple[TrainState, History]:
        run = self.bind(hparams, key)
        params, state = run.begin()

        def stretch(state: TrainState, length: int) -> tuple[TrainState, tuple[StepReport, Array, PyTree[Array]]]:
            state, report = jax.lax.scan(lambda s, _: run.step(s), state, length=length)
            return state, (report, state.step, run.evaluate(state))

        stretches, rest = divmod(self.num_steps, self.every)
        state, (report, at, values) = jax.lax.scan(lambda s, _: stretch(s, self.every), state, length=stretches)
        report = jax.tree.map(lambda x: x.reshape(stretches * self.every, *x.shape[2:]), report)
        if rest:
            state, tail = stretch(state, rest)
            tail = (tail[0], *jax.tree.map(lambda x: x[None], tail[1:]))
            report, at, values = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), (report, at, values), tail)
        return state, History(report, at, values, _unmoved(params, state))

    def begin(self, hparams: HParams, key: Key[Array, ""]) -> Progress:
        """The run before its first step."""
        run = self.bind(hparams, key)
        _, state = run.begin()
        _, report = jax.eval_shape(run.step, state)
        values = jax.eval_shape(run.evaluate, state)
        evaluations = -(-self.num_steps // self.every)

        def rows(number: int, like: PyTree) -> PyTree[Array]:
            return jax.tree.map(lambda x: jnp.zeros((number, *x.shape), x.dtype), like)

        at = jnp.zeros(evaluations, jnp.int32)
        return Progress(state, rows(self.num_steps, report), at, rows(evaluations, values))

    def advance(
        self,
        progress: Progress,
        start: Int[Array, ""] | int,
        stop: Int[Array, ""] | int,
        hparams: HParams,
        key: Key[Array, ""],
    ) -> Progress:
        """The steps from number ``start``, which must be ``progress.state.step``, up to ``stop``; traced or not."""
        run = self.bind(hparams, key)

        def one(number: Array, progress: Progress) -> Progress:
            state, report = run.step(progress.state)
            reports = jax.tree.map(lambda rows, row: rows.at[number].set(row), progress.report, report)
            return progress._replace(state=state, report=reports)

        def up_to_an_evaluation(begun: tuple[Array, Progress]) -> tuple[Array, Progress]:
            number, progress = begun
            slot = number // self.every
            ends = jnp.minimum(stop, (slot + 1) * self.every)
            progress = jax.lax.fori_loop(number, ends, one, progress)

            def looked() -> tuple[Array, PyTree[Array]]:
                values = jax.tree.map(
                    lambda rows, row: rows.at[slot].set(row), progress.evaluations, run.evaluate(progress.state)
                )
                return progress.evaluation_steps.at[slot].set(ends), values

            # The number of a step is the same in all lanes, so that no lane evaluates for another.
            due = (ends % self.every == 0) | (ends == self.num_steps)
            at, values = jax.lax.cond(due, looked, lambda: (progress.evaluation_steps, progress.evaluations))
            return ends, progress._replace(evaluation_steps=at, evaluations=values)

        def all_of_them() -> Progress:
            begun = (jnp.int32(start), progress)
            return jax.lax.while_loop(lambda carry: carry[0] < stop, up_to_an_evaluation, begun)[1]

        return all_of_them() if self.stored is None else self.stored.plainly(all_of_them)

    def finish(self, progress: Progress, hparams: HParams, key: Key[Array, ""]) -> tuple[TrainState, History]:
        """What ``train`` returns, of a run that has done all its steps."""
        params, _ = self.bind(hparams, key).begin()
        state, report, at, values = progress
        return state, History(report, at, values, _unmoved(params, state))


def _unmoved(before: Params, state: TrainState) -> PyTree[Array]:
    return jax.tree.map(lambda x, y: jnp.all(x == y), before, state.params)
