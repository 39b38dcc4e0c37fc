"""The nouns every module shares: parameters, cohorts, a unit's records, hyper-parameters, clipped sums."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int, PyTree

from dpjax.checks import brief

Params = PyTree[Array]
"""A model's parameters: any pytree of floating-point arrays."""


def at_least_float32(*dtypes: Any) -> jnp.dtype:
    """The widest of some floating dtypes, and float32 for narrower ones: what sums and noise are computed in.

    Example:
      >>> at_least_float32(jnp.bfloat16), at_least_float32(jnp.float32, jnp.float64)
      (dtype('float32'), dtype('float64'))
    """
    return max((jnp.dtype(d) for d in (*dtypes, jnp.float32)), key=lambda d: d.itemsize)


def widened(params: Params) -> Params:
    """Parameters as an optimizer sees them: at least float32, or its moments and its small steps would stick.

    Example:
      >>> print(widened({"w": jnp.ones(2, jnp.bfloat16)})["w"].dtype)
      float32
    """
    return jax.tree.map(lambda x: x.astype(at_least_float32(x.dtype)), params)


Metrics = dict[str, Any]
"""Named scalars that one unit, one step or one evaluation reports; a unit's may hold ``PerUnit`` values too."""


class PerUnit(NamedTuple):
    """An entry of a unit's metrics that the kernel hands over slot by slot, where it sums all others.

    As what ``init_unit_state`` returns, states that units do not start with alike, leaves ``[population, ...]``.

    Attributes:
      value: pytree of arrays, such as the state that a federated client takes home. It costs memory of slots × value.
    """

    value: PyTree[Array]


class Cohort(NamedTuple):
    """A sampled set of units in fixed slots, so that shapes never change.

    Attributes:
      units: pytree whose leaves are ``[slots, ...]``; what an empty slot holds is never read.
      mask: ``[slots]``; False marks an empty slot, which counts as zero.
      weights: ``[slots]`` factors in [0, 1] on clipped contributions; 1 if None. Beyond that range they are cut to it,
        so that no weight raises the sensitivity.
    """

    units: PyTree[Array]
    mask: Bool[Array, "slots"]
    weights: Float[Array, "slots"] | None = None


def leading_size(name: str, tree: Any, axis: str) -> int:
    """The length of the first axis, which all leaves must share; a list of numbers is a tree of leaves without one.

    Args:
      name: of the tree, for errors.
      tree: pytree of arrays, leaves ``[axis, ...]``.
      axis: what the first axis counts, for errors.

    Raises:
      TypeError: a leaf is no array of numbers, or there is none.
      ValueError: leaves of different lengths, or of none.

    Example:
      >>> leading_size("units", [1.0, 2.0], "population")
      Traceback (most recent call last):
      TypeError: units[0] is a float, but every leaf must be an array [population, ...]; stack them with jnp.asarray.
    """
    sizes: set[int] = set()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        dtype: Any = getattr(leaf, "dtype", None)
        shape: tuple[int, ...] = tuple(getattr(leaf, "shape", ()))
        if dtype is None or not shape or getattr(dtype, "kind", "V") in tuple("OUSMm"):
            what = f"a {type(leaf).__name__}" if dtype is None else f"of dtype {dtype} and shape {shape}"
            raise TypeError(
                f"{name}{jax.tree_util.keystr(path)} is {what}, but every leaf must be an array [{axis}, ...]; stack "
                "them with jnp.asarray."
            )
        sizes.add(shape[0])
    if not sizes:
        raise TypeError(f"{name} hold no array; give a pytree of arrays [{axis}, ...].")
    if len(sizes) > 1 or 0 in sizes:
        raise ValueError(f"{name} have leaves of lengths {sorted(sizes)}; every leaf must be [{axis}, ...].")
    return sizes.pop()


def check_cohort(cohort: Cohort) -> None:
    """Refuse slots that are counted in two ways, and a mask that is none: ``~mask`` of integers is no other mask.

    Raises:
      TypeError: a mask, of slots or of a unit's records, that is no array of bools, or weights that are no array.
      ValueError: units, mask and weights of different lengths.
    """
    slots, mask, weights = leading_size("units", cohort.units, "slots"), cohort.mask, cohort.weights
    if not jnp.issubdtype(getattr(mask, "dtype", object), bool):
        dtype = getattr(mask, "dtype", type(mask).__name__)
        raise TypeError(
            f"mask is of type {dtype}, but must be an array of bools [slots]; write jnp.asarray(mask) != 0."
        )
    check_padding(cohort.units)
    if mask.shape != (slots,):
        raise ValueError(f"mask has shape {mask.shape}, but units have {slots} slots; give one bool for each.")
    if weights is not None and jnp.shape(weights) != (slots,):
        raise ValueError(f"weights have shape {jnp.shape(weights)}, but units have {slots} slots; give one for each.")
    if weights is not None and not jnp.issubdtype(getattr(weights, "dtype", object), jnp.floating):
        raise TypeError("weights must be an array of floating-point factors [slots]; make it one with jnp.asarray.")


def check_padding(units: PyTree[Array]) -> None:
    """Refuse ``Records`` and ``UnitData`` whose mask is none: a record marked 2 would count twice.

    Raises:
      TypeError: a mask that is no array of bools.
    """

    def holds_records(x: object) -> bool:
        return isinstance(x, Records | UnitData)

    for part in jax.tree.leaves(units, is_leaf=holds_records):
        if holds_records(part) and not jnp.issubdtype(getattr(part.mask, "dtype", object), bool):
            dtype = getattr(part.mask, "dtype", type(part.mask).__name__)
            raise TypeError(
                f"the mask of {type(part).__name__} is of type {dtype}, but must be an array of bools [..., records]; "
                "write jnp.asarray(mask) != 0."
            )


def check_key(name: str, key: object) -> None:
    """Refuse what is no key of ``jax.random.key``.

    Raises:
      TypeError: no key, an old-style key array, or a number in its place.
    """
    if not (isinstance(key, jax.Array | Tracer) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)):
        raise TypeError(f"{name}={brief(key)} is not a JAX key; pass one made by jax.random.key(seed) or split.")
    if key.shape != ():
        raise TypeError(f"{name} holds {key.shape} keys, but one is needed; pass one of them.")


class Records(NamedTuple):
    """The rows of a shared data set that belong to one unit (a user, a client), padded to one length.

    A population of units is a ``Records`` whose leaves have a leading ``[units]`` axis.

    Attributes:
      index: ``[..., records]`` row numbers into the data set; padding may hold any valid row.
      mask: ``[..., records]``; False marks padding.
    """

    index: Int[Array, "*units records"]  # pyright: ignore[reportIncompatibleMethodOverride]
    mask: Bool[Array, "*units records"]


class UnitData(NamedTuple):
    """One unit's own records, gathered: what a user's or a client's contribution function receives.

    Attributes:
      examples: pytree whose leaves are ``[records, ...]``.
      mask: ``[records]``; False marks padding, which never counts, whatever it holds and whatever the loss makes of it.
    """

    examples: PyTree[Array]
    mask: Bool[Array, "records"]


class Stateful(NamedTuple):
    """A unit with what it remembers from the last round that it took part in.

    Attributes:
      unit: its ``UnitData`` or ``Records``.
      state: pytree of arrays; never clipped, never sent.
    """

    unit: PyTree[Array]
    state: PyTree[Array]


class HParams(NamedTuple):
    """Everything a sweep may vary without recompiling. Every field is a traced scalar.

    Attributes:
      learning_rate: step size of the (server) optimizer.
      clip_norm: bound on one unit's L2 norm, in the units of the gradient; ``inf`` turns clipping off.
      noise_multiplier: noise standard deviation divided by ``clip_norm``; 0 turns noise off.
      momentum: heavy-ball momentum of the (server) optimizer.
      weight_decay: decoupled weight decay, per step and unit of learning rate.
      client_learning_rate: step size of a federated client's local optimizer.
      proximal: μ of FedProx.
      straggler_rate: chance that a client is stopped after a part of its local steps.
      dropout_rate: chance that a client is lost before its message arrives.
      epsilon_per_report: pure ε of one report that a client randomises itself.
    """

    learning_rate: float | Float[Array, "*lanes"] = 0.1
    clip_norm: float | Float[Array, "*lanes"] = 1.0
    noise_multiplier: float | Float[Array, "*lanes"] = 0.0
    momentum: float | Float[Array, "*lanes"] = 0.0
    weight_decay: float | Float[Array, "*lanes"] = 0.0
    client_learning_rate: float | Float[Array, "*lanes"] = 0.1
    proximal: float | Float[Array, "*lanes"] = 0.0
    straggler_rate: float | Float[Array, "*lanes"] = 0.0
    dropout_rate: float | Float[Array, "*lanes"] = 0.0
    epsilon_per_report: float | Float[Array, "*lanes"] = 1.0


def check_hparams(hparams: Any) -> None:
    """Refuse hyper-parameters without fields, as a dict of them is.

    Raises:
      TypeError: no NamedTuple, or one without ``clip_norm`` and ``noise_multiplier``.

    Example:
      >>> check_hparams({"clip_norm": 1.0})
      Traceback (most recent call last):
      TypeError: hparams={'clip_norm': 1.0} must be a NamedTuple with clip_norm and noise_multiplier; give \
HParams(clip_norm=1.0, noise_multiplier=1.0).
    """
    if not all(hasattr(hparams, name) for name in ("clip_norm", "noise_multiplier", "_replace")):
        raise TypeError(
            f"hparams={brief(hparams)} must be a NamedTuple with clip_norm and noise_multiplier; give "
            "HParams(clip_norm=1.0, noise_multiplier=1.0)."
        )


class Added(NamedTuple):
    """The sum holds noise already, which the clients added: nobody adds more.

    Attributes:
      multiplier: scalar; standard deviation of one coordinate's noise / clip norm, as the aggregation counts it.
    """

    multiplier: Float[Array, ""]


class NoSensitivity(NamedTuple):
    """No bound on how far one unit moves the sum: no noise makes it private, and a step that would add some fails."""


@jax.tree_util.register_static
@dataclass(frozen=True)
class ClippedBy:
    """By which rule a sum's contributions are clipped: a static part of the sum, which nothing adds up or averages.

    Attributes:
      rule: the ``ClippingRule``.
    """

    rule: Any

    def __hash__(self) -> int:
        return hash(ClippedBy)  # a rule's stability may be an array, which has no hash


class ClippedSum(NamedTuple):
    """What the kernel returns: a sum that travels with its own sensitivity and with the noise that it holds.

    Formal guarantees: those of ``clipped_sum`` for ``total``, unless ``noise`` is ``NoSensitivity``. What is marked
    private is covered by no ε, whatever noise is added to ``total``.

    Attributes:
      total: pytree like the contribution; the sum over the cohort of every clipped contribution.
      clip_norm: scalar; no unit moves ``total`` by more than this in L2 (twice this under replace-one).
      norms: ``[slots]`` L2 norms before clipping; 0 in empty slots and for rejected contributions. Private.
      num_rejected: how many contributions were not finite and counted as zero. Private.
      aux: metrics summed over the accepted units of the cohort. Private.
      per_unit: the ``PerUnit`` metrics by name, leaves ``[slots, ...]``; zero in empty slots and for rejected
        contributions. Private.
      accepted: ``[slots]``; whose contribution is in ``total``. None: the sum does not say. Private.
      arrived: ``[slots]``; of the cohort, who was not lost on the way. None: nobody was. Private.
      unit_states: leaves ``[slots, ...]``; what each unit remembers from now on, zero where it is not accepted. None:
        nothing. Private, and its own unit's alone.
      messages: leaves ``[slots, ...]``; what each unit sent, for an aggregation that asked. Private.
      uplink_bytes: scalar; bytes that the accepted units sent, where they say so. Private.
      local_overflows: scalar; how often steps within accepted units overflowed, where there are any. Private.
      released: scalar; False if the aggregation was aborted, so that there is no sum. None: it can't be.
      noise: None: the sum is bare, and a private step adds noise to it. ``Added``: clients did. ``NoSensitivity``:
        there is none to add. Which of the three is fixed when the program is made.
      report: scalars of the aggregation itself, such as bytes sent; not averaged over units. For diagnosis: nothing is
        ever decided by a name in it.
      clipped_by: the rule, for an aggregation that bounds every message anew. None: the sum does not say.
    """

    total: Params
    clip_norm: Float[Array, ""]
    norms: Float[Array, "slots"]
    num_rejected: Int[Array, ""]
    aux: Metrics
    per_unit: PyTree[Array] = ()
    accepted: Bool[Array, "slots"] | None = None
    arrived: Bool[Array, "slots"] | None = None
    unit_states: PyTree[Array] | None = None
    messages: PyTree[Array] | None = None
    uplink_bytes: Float[Array, ""] | None = None
    local_overflows: Float[Array, ""] | None = None
    released: Bool[Array, ""] | None = None
    noise: Added | NoSensitivity | None = None
    report: PyTree[Array] = ()
    clipped_by: ClippedBy | None = None


SUMMED = ("total", "num_rejected", "aux", "uplink_bytes", "local_overflows")
"""Fields of ``ClippedSum`` in which the sums of two parts of a cohort are added up."""

SLOTWISE = ("norms", "per_unit", "accepted", "arrived", "unit_states", "messages")
"""Fields of ``ClippedSum`` whose leaves have a leading ``[slots]`` axis."""


def over_slots(change: Callable[..., Array], clipped: ClippedSum, *others: ClippedSum) -> ClippedSum:
    """The first sum with ``change`` applied to every array that has a row for each slot."""
    names = {name: [getattr(one, name) for one in (clipped, *others)] for name in SLOTWISE}
    return clipped._replace(**{name: jax.tree.map(change, *values) for name, values in names.items()})
