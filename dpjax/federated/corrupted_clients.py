"""Clients that send what they should not: NaN, scaled, flipped or random messages, and labels turned round."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Key, PyTree, ScalarLike

from dpjax.buckets import Buckets
from dpjax.checks import number, one_of, whole_number
from dpjax.clipping import Aggregation, SumFactory
from dpjax.contribution import ContributionFn, Reported, as_reported
from dpjax.federated.side_keys import Purpose, side_key
from dpjax.ranges import CORRUPTED_FRACTION
from dpjax.types import Params, Records, Stateful


class Corruptible(NamedTuple):
    """A unit, and whether it is one of the corrupted: which clients are stays the same for a whole run.

    A population of them is a ``Corruptible`` whose leaves have a leading ``[units]`` axis; see ``corruptible``.

    Attributes:
      unit: such as ``Records``.
      corrupted: True for a client that sends what it should not.
    """

    unit: PyTree[Array]
    corrupted: Bool[Array, "*units"]


def draw_corrupted(key: Key[Array, ""], population: int, fraction: float) -> Bool[Array, "population"]:
    """Which clients of a population are corrupted: a fixed number of them, drawn without regard to what they hold.

    Formal guarantees: none of privacy, and none needed: the draw follows from ``key`` and two public numbers.

    Args:
      key: of the draw, which is public; use it nowhere else.
      population: number of clients ≥ 1.
      fraction: share of the corrupted, in [0, 1]; ``round(fraction × population)`` of them are drawn.

    Returns:
      ``[population]`` booleans.

    Raises:
      ValueError: a number out of range.

    Example:
      >>> int(draw_corrupted(jax.random.key(0), 40, 0.25).sum())
      10
    """
    population = whole_number("population", population, fix="it is a number of clients")
    fraction = CORRUPTED_FRACTION.number("corrupted_fraction", fraction)
    return jax.random.permutation(key, population) < round(fraction * population)


def corruptible(units: PyTree[ArrayLike], corrupted: ArrayLike | Sequence[bool]) -> PyTree[Array]:
    """A population whose units carry the mark that ``corruption`` reads, for ``make_train(units=...)``.

    Formal guarantees: none of its own: units stay what they are, and so does ε if marks were chosen without looking at
    what units hold, as ``draw_corrupted`` does.

    Args:
      units: pytree, leaves ``[population, ...]``, such as ``Records``; or ``Buckets`` of them.
      corrupted: ``[population]`` booleans, in the order of the units; see ``draw_corrupted``.

    Returns:
      ``Corruptible``, leaves ``[population, ...]``, or ``Buckets`` of it.

    Raises:
      ValueError: not one boolean for each unit.

    Example:
      >>> corruptible(jnp.arange(3.0), [False, True, False]).corrupted.tolist()
      [False, True, False]
    """
    tables = units.tables if isinstance(units, Buckets) else (units,)
    parts = [
        Corruptible(jax.tree.map(jnp.asarray, t), m) for t, m in zip(tables, _split(corrupted, tables), strict=True)
    ]
    return Buckets(tuple(parts)) if isinstance(units, Buckets) else parts[0]


KINDS = ("nan", "scaled", "sign_flipped", "noise")
"""What corrupted clients send; see ``corruption``."""


def corruption(
    kind: str,
    *,
    factor: ScalarLike | None = None,
    stddev: ScalarLike = 1.0,
) -> Aggregation:
    """Clients that send something else than what they learnt, before anything is clipped.

    Formal guarantees: what is sent is clipped like any other message, so that the sum's sensitivity and ε stay what
    they are. Only what a client sends is changed: what it remembers, and the loss it reports, are those of honest work.

    Args:
      kind: ``"nan"`` (NaN in every coordinate, which the kernel rejects and counts), ``"scaled"`` (``factor`` times
        the message), ``"sign_flipped"`` (−``factor`` times it) or ``"noise"`` (Gaussian noise in place of it).
      factor: of ``"scaled"``, 10 if None, and ``"sign_flipped"``, 1 if None; traced or not.
      stddev: of each coordinate of ``"noise"``, in the units of the message; traced or not.

    Returns:
      For ``Summing(aggregation=...)``, whose units are ``corruptible(...)``. Among several aggregations its place
      does not matter. The metric ``corrupted`` is the corrupted share of the clients whose message was accepted.

    Raises:
      ValueError: an unknown kind, or a concrete number out of range.
      TypeError: when traced, if units carry no mark.

    Example:
      >>> from dpjax import Cohort, clipped_sum, example_gradient
      >>> flipped = corruption("sign_flipped")(clipped_sum)(example_gradient(lambda w, x, key: w * x))
      >>> units = corruptible(jnp.array([0.5, 0.5, 0.5]), [False, True, False])
      >>> print(flipped(jnp.float32(0), Cohort(units, jnp.ones(3, bool)), jax.random.key(0), 1.0).total)
      0.5

    References:
      Blanchard et al., Machine Learning with Adversaries, 2017 (https://arxiv.org/abs/1703.02757).
    """
    one_of("kind", kind, KINDS)
    default = 10.0 if kind == "scaled" else 1.0
    fix = "kind='sign_flipped' turns the sign by itself"
    size = number("factor", default if factor is None else factor, least=0, fix=fix)
    stddev = number("stddev", stddev, least=0, fix="it is that of one coordinate of a message")
    multiplier = size * (-1 if kind == "sign_flipped" else 1)

    def corrupt(vector: Params, key: Key[Array, ""]) -> Params:
        leaves, structure = jax.tree.flatten(vector)
        keys = jax.random.split(side_key(key, Purpose.CORRUPTED), len(leaves))

        def change(x: Array, leaf_key: Key[Array, ""]) -> Array:
            if kind == "nan":
                return jnp.full_like(x, jnp.nan)
            if kind == "noise":
                return jnp.asarray(stddev, x.dtype) * jax.random.normal(leaf_key, x.shape, x.dtype)
            return jnp.asarray(multiplier, x.dtype) * x

        return structure.unflatten([change(x, k) for x, k in zip(leaves, keys, strict=True)])

    def aggregation(factory: SumFactory) -> SumFactory:
        def make(contribution_fn: ContributionFn):
            def sending(params: Params, unit: PyTree[Array], key: Key[Array, ""]) -> tuple[Params, Reported]:
                honest_unit, corrupted = _unmarked(unit)
                honest, beside = contribution_fn(params, honest_unit, key)
                report = as_reported(beside)
                sent = jax.tree.map(lambda bad, x: jnp.where(corrupted, bad, x), corrupt(honest, key), honest)
                if report.message is not None:  # an aggregation within keeps messages: it is to see what was sent
                    report = report._replace(message=sent)
                marks = {"corrupted": corrupted.astype(jnp.float32)}
                return sent, report._replace(metrics=report.metrics | marks)

            return factory(sending)

        return make

    return aggregation


def flip_labels(
    labels: ArrayLike | Sequence[int],
    records: Records | Buckets,
    corrupted: ArrayLike | Sequence[bool],
    num_classes: int,
) -> np.ndarray:
    """Labels of a data set in which corrupted clients turned round those of their rows: y becomes K − 1 − y.

    Such clients train honestly on bad data, so that no ``corruption`` and no marks are needed: put the result into
    ``Population(examples=...)``. With an odd number of classes the one in the middle stays as it is.

    Formal guarantees: a change of a corrupted client's own rows only; it is data like any other to ε.

    Args:
      labels: ``[rows]`` integers from 0 to ``num_classes`` − 1.
      records: whose rows are whose; ``[population, records]``, or ``Buckets`` of them.
      corrupted: ``[population]`` booleans, in the order of the clients; see ``draw_corrupted``.
      num_classes: K ≥ 2.

    Returns:
      A new NumPy array ``[rows]`` of the labels' own type.

    Raises:
      ValueError: labels out of range, not one boolean for each client, or a row that an honest client holds as well.

    Example:
      >>> owners = Records(jnp.array([[0, 1], [2, 3]]), jnp.ones((2, 2), bool))
      >>> flip_labels([0, 1, 0, 1], owners, [False, True], 2).tolist()
      [0, 1, 1, 0]

    References:
      Fang et al., Local Model Poisoning Attacks, 2020 (https://arxiv.org/abs/1911.11815).
    """
    flipped = np.array(labels)
    num_classes = whole_number("num_classes", num_classes, least=2, fix="a label is to have another")
    if flipped.size and not (flipped.min() >= 0 and flipped.max() < num_classes):
        raise ValueError(
            f"labels reach from {flipped.min()} to {flipped.max()}, but num_classes={num_classes} has 0 to "
            f"{num_classes - 1}; number the classes from 0."
        )
    tables = records.tables if isinstance(records, Buckets) else (records,)
    held = np.zeros((2, flipped.shape[0]), bool)  # by honest clients, by corrupted ones
    for table, marks in zip(tables, _split(corrupted, tables), strict=True):
        index, mask = np.asarray(table.index), np.asarray(table.mask)
        for bad in (False, True):
            held[int(bad), index[mask & (np.asarray(marks)[:, None] == bad)]] = True
    if (held[0] & held[1]).any():
        raise ValueError(
            f"row {np.flatnonzero(held[0] & held[1])[0]} belongs to a corrupted and to an honest client; give clients "
            "rows of their own, as every partition but sampled_partition does."
        )
    flipped[held[1]] = num_classes - 1 - flipped[held[1]]
    return flipped


def _split(corrupted: ArrayLike | Sequence[bool], tables: tuple[PyTree[ArrayLike], ...]) -> list[Bool[Array, "units"]]:
    """The marks of each table's units."""
    marks = jnp.asarray(np.asarray(corrupted) if isinstance(corrupted, Sequence) else corrupted)
    sizes = [np.shape(jax.tree.leaves(table)[0])[0] for table in tables]
    if marks.shape != (sum(sizes),) or marks.dtype != bool:
        raise ValueError(
            f"corrupted={marks.dtype}{list(marks.shape)} is not for the {sum(sizes)} units there are; give one boolean "
            "each, as draw_corrupted does."
        )
    return jnp.split(marks, np.cumsum(sizes)[:-1])


def _unmarked(unit: PyTree[Array]) -> tuple[PyTree[Array], Bool[Array, ""]]:
    """The unit as an honest contribution knows it, and its mark."""
    marked, state = unit if isinstance(unit, Stateful) else (unit, None)
    if not isinstance(marked, Corruptible):
        raise TypeError(
            f"a unit is a {type(marked).__name__} without a mark of who is corrupted; give make_train the units "
            "corruptible(units, draw_corrupted(key, population, fraction))."
        )
    return (Stateful(marked.unit, state) if isinstance(unit, Stateful) else marked.unit), marked.corrupted
