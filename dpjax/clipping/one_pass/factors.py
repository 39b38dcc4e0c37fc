"""Per-unit gradients in factored form, ``Σ_s left_s ⊗ right_s``: their norms, their products, their weighted sums."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.lax import GatherScatterMode
from jaxtyping import Array, Bool, Float, Int

from dpjax.clipping.one_pass.places import Label, Place
from dpjax.clipping.summing import sum_rows, sum_squares
from dpjax.types import at_least_float32

HIGHEST = lax.Precision.HIGHEST
"""Reduced-precision matmul units would round contributions past their bound."""


class Axes(NamedTuple):
    """Which axes of the base make up each axis of a product ``[stack, rows, columns]``."""

    stack: tuple[int, ...]
    rows: tuple[int, ...]
    columns: tuple[int, ...]


class Factors(NamedTuple):
    """The gradients of a stack of units at one base.

    Attributes:
      left: ``[slots, stack, positions, rows]``; None if it is 1 or if ``rows`` are picked by ``ids``.
      right: ``[slots, stack, positions, columns]``.
      ids: ``[slots, stack, positions]`` the row that each position picks; None unless the place is a gather.
    """

    left: Float[Array, "slots stack positions rows"] | None
    right: Float[Array, "slots stack positions columns"]
    ids: Int[Array, "slots stack positions"] | None


class Size(NamedTuple):
    """The shape of a product and of its factors."""

    stack: int
    positions: int
    rows: int
    columns: int


UNIT: Label = ("unit", 0)


def split(place: Place) -> Axes:
    """Which base axes the factors share, and which belong to the left or to the right alone."""
    left = {label[1] for label in place.left or () if label[0] == "w"}
    right = {label[1] for label in place.right if label[0] == "w"}
    rows = left - right
    if place.table_axis is not None:
        rows = {place.table_axis[1]}
    return Axes(tuple(sorted(left & right)), tuple(sorted(rows)), tuple(sorted(right - left)))


def size(place: Place, axes: Axes) -> Size:
    """The sizes of a place's product, from shapes alone."""
    base = place.view.base
    right = dict(zip(place.right, place.shape, strict=True))
    shared = set(place.left or ()) if place.left is not None or place.table_axis else set()
    positions = int(np.prod([n for label, n in right.items() if label[0] == "s" and label in shared] or [1]))
    stack, rows, columns = (int(np.prod([base[i] for i in group] or [1])) for group in axes)
    return Size(stack, positions, rows, columns)


def factors(place: Place, axes: Axes, saved: Array | None, cotangent: Array) -> Factors:
    """The factors of a place from what was saved there and from the cotangent of its tap."""
    right_labels = _with_unit(place.right, place.depth)
    left_labels = None if place.left is None or saved is None else _with_unit(place.left, place.depth)
    right = cotangent if place.sign == 1 else -cotangent
    is_gather = place.table_axis is not None
    if is_gather:
        assert saved is not None
        assert left_labels is not None
        rows = place.view.base[axes.rows[0]]
        saved, valid = _in_range(saved, rows, place.mode)
        right = jnp.where(_align(valid, left_labels, right_labels), right, 0)
    shared = set(left_labels or ()) & set(right_labels)
    positions = [label for label in right_labels if label[0] == "s" and label in shared]
    stack = [("w", a) for a in axes.stack]
    right = _arrange(right, right_labels, [UNIT], stack, positions, [("w", a) for a in axes.columns])
    if saved is None or left_labels is None:
        return Factors(None, right, None)
    if is_gather:
        return Factors(None, right, _arrange(saved, left_labels, [UNIT], stack, positions, [])[..., 0])
    return Factors(_arrange(saved, left_labels, [UNIT], stack, positions, [("w", a) for a in axes.rows]), right, None)


def _with_unit(labels: tuple[Label, ...], depth: int) -> tuple[Label, ...]:
    return (*labels[:depth], UNIT, *labels[depth:])


def _in_range(ids: Array, rows: int, mode: GatherScatterMode) -> tuple[Array, Array]:
    """Ids as int32 rows of the table, and which pick one; the arithmetic of a small integer type would wrap."""
    if jnp.iinfo(ids.dtype).bits < 32:
        ids = ids.astype(jnp.int32)
    valid = (ids >= 0) & (ids < rows)
    if mode == GatherScatterMode.CLIP:
        valid = jnp.ones_like(valid)
    return jnp.clip(ids, 0, rows - 1).astype(jnp.int32), valid


def _align(x: Array, labels: tuple[Label, ...], target: tuple[Label, ...]) -> Array:
    """``x`` transposed and given axes of length 1 so that it broadcasts against ``target``."""
    order = sorted(range(x.ndim), key=lambda i: target.index(labels[i]))
    shape = dict(zip(labels, x.shape, strict=True))
    return jnp.transpose(x, order).reshape([shape.get(label, 1) for label in target])


def _arrange(x: Array, labels: tuple[Label, ...], *groups: list[Label]) -> Array:
    """Axes gathered into groups, one output axis each; axes in no group are summed."""
    wanted = [label for group in groups for label in group]
    gone = tuple(i for i, label in enumerate(labels) if label not in wanted)
    if gone:
        x = jnp.sum(x, axis=gone, dtype=at_least_float32(x.dtype))
        labels = tuple(label for label in labels if label in wanted)
    shape = dict(zip(labels, x.shape, strict=True))
    # A base axis of length 1 may be missing from the value.
    present = [[label for label in group if label in shape] for group in groups]
    x = jnp.transpose(x, [labels.index(label) for group in present for label in group])
    return x.reshape([int(np.prod([shape[label] for label in group] or [1])) for group in present])


def orient(kinds: list[tuple[Axes, str]]) -> tuple[Axes, tuple[bool, ...]] | None:
    """How places of one base can be taken as one: which have rows and columns exchanged; None if they can't be.

    Kinds are ``"dense"``, ``"picked"`` (a gather) and ``"ones"`` (no left operand).
    """
    ones = [kind == "ones" for _, kind in kinds]
    if any(ones) and not all(ones):
        return None
    target = next((axes for axes, kind in kinds if kind == "picked"), kinds[0][0])
    flips = []
    for axes, kind in kinds:
        if axes != target and (kind != "dense" or Axes(axes.stack, axes.columns, axes.rows) != target):
            return None
        flips.append(axes != target)
    return target, tuple(flips)


def join(parts: list[Factors], flips: tuple[bool, ...]) -> list[Factors]:
    """The places of one base as at most one dense and one picked part, their positions side by side."""
    if parts[0].left is None and parts[0].ids is None:
        if len(parts) == 1:
            return parts
        rights = [jnp.sum(part.right, axis=2, keepdims=True) for part in parts]
        return [Factors(None, sum(rights[1:], rights[0]), None)]
    turned = [_flip(part) if flip else part for part, flip in zip(parts, flips, strict=True)]
    if len(turned) == 1:
        return turned
    groups = [[p for p in turned if p.ids is None], [p for p in turned if p.ids is not None]]
    return [_concatenate(group) for group in groups if group]


def _flip(part: Factors) -> Factors:
    assert part.left is not None
    return Factors(part.right, part.left, None)


def _concatenate(parts: list[Factors]) -> Factors:
    def along_positions(arrays: list[Array | None]) -> Array | None:
        present = [x for x in arrays if x is not None]
        return jnp.concatenate(present, axis=2) if present else None

    right = jnp.concatenate([part.right for part in parts], axis=2)
    return Factors(along_positions([p.left for p in parts]), right, along_positions([p.ids for p in parts]))


def product(part: Factors, rows: int) -> Float[Array, "slots stack rows columns"]:
    """Every unit's own gradient."""
    dtype = at_least_float32(part.right.dtype)
    if part.ids is not None:
        return _scatter(part.ids, part.right.astype(dtype), rows)
    if part.left is None:
        return jnp.sum(part.right, axis=2, dtype=dtype)[:, :, None, :]
    if part.left.shape[3] == 1:
        return jnp.sum(part.left.astype(dtype) * part.right.astype(dtype), axis=2)[:, :, None, :]
    return jnp.einsum("bksi,bkso->bkio", part.left, part.right, precision=HIGHEST, preferred_element_type=dtype)


def _scatter(ids: Array, right: Array, rows: int) -> Array:
    slots, stack = ids.shape[:2]
    offsets = rows * (stack * jnp.arange(slots, dtype=ids.dtype)[:, None] + jnp.arange(stack, dtype=ids.dtype)[None])
    flat = (ids + offsets[:, :, None]).reshape(-1)
    table = jnp.zeros((slots * stack * rows, right.shape[-1]), right.dtype)
    return table.at[flat].add(right.reshape(-1, right.shape[-1])).reshape(slots, stack, rows, -1)


def weighted(part: Factors, scale: Float[Array, "slots"], rows: int) -> Float[Array, "stack rows columns"]:
    """``Σ_b scale_b × gradient_b`` with no unit's own gradient ever formed."""
    dtype = at_least_float32(part.right.dtype)
    right = part.right.astype(dtype) * scale.astype(dtype)[:, None, None, None]
    if part.ids is not None:
        stack = part.ids.shape[1]
        flat = part.ids + rows * jnp.arange(stack, dtype=part.ids.dtype)[None, :, None]
        table = jnp.zeros((stack * rows, right.shape[-1]), dtype)
        return table.at[flat.reshape(-1)].add(right.reshape(-1, right.shape[-1])).reshape(stack, rows, -1)
    if part.left is None:
        return jnp.sum(right, axis=(0, 2))[:, None, :]
    if part.left.shape[3] == 1:
        return jnp.sum(part.left.astype(dtype) * right, axis=(0, 2))[:, None, :]
    left = part.left.astype(dtype)
    if left.shape[1] == 1:  # one plain matmul, which no layout change comes before
        left, right = left.reshape(-1, left.shape[3]), right.reshape(-1, right.shape[3])
        return jax.lax.dot_general(left, right, (((0,), (0,)), ((), ())), precision=HIGHEST)[None]
    return jnp.einsum("bksi,bkso->kio", left, right, precision=HIGHEST)


class Squares(NamedTuple):
    """Squared norms of a stack of units, and whose can't be trusted: they are to be taken from the product itself.

    Attributes:
      values: ``[slots]``.
      doubtful: ``[slots]``; True where rounding, under- or overflow of what they are made of may show in the result.
    """

    values: Float[Array, "slots"]
    doubtful: Bool[Array, "slots"]


MARGIN = 16
"""In units of rounding: what inner products of positions may lose though they are trusted, and are given beforehand."""


def rank_one_squares(part: Factors, least: Float[Array, ""]) -> Squares:
    """Squared norms where there is one position: the product of the factors' squared norms.

    ``least`` is the square below which a norm need not be told from zero: that of the clip norm.
    """
    dtype = at_least_float32(part.right.dtype)
    if part.left is None:
        values = sum_squares(part.right.astype(dtype))
        return Squares(values, jnp.zeros(values.shape, bool))
    left, right = _lengths(part, dtype)
    values = sum_rows(left * right)
    return Squares(values, _loses(part, left, right, values, least))


def product_squares(parts: list[Factors], product: Array, least: Float[Array, ""]) -> Squares:
    """Squared norms of a product that is formed once for them and again, otherwise added up, for the sum."""
    lengths = [_lengths(part, at_least_float32(part.right.dtype)) for part in parts]
    values = sum_squares(product)
    return Squares(values, _doubtful(parts, lengths, values, least))


def gram_squares(parts: list[Factors], least: Float[Array, ""]) -> Squares:
    """Squared norms from inner products between positions: ``Σ_st (left_s·left_t)(right_s·right_t)``.

    Where the terms cancel, their rounding stays: a value is trusted only if it is not small beside
    ``(Σ_s ‖left_s‖ ‖right_s‖)²``, which bounds them all.
    """
    grams = [_gram(part) for part in parts]
    values = sum(gram for gram, _ in grams)
    if len(parts) == 2:
        dense, picked = parts
        values = values + 2 * _cross(dense, picked)
    values = jnp.asarray(values)
    values = values * (1 + MARGIN * jnp.finfo(values.dtype).eps)
    return Squares(values, _doubtful(parts, [lengths for _, lengths in grams], values, least))


Lengths = tuple[Array, Array]
"""Squared norms of left and right factors at each position, ``[slots, stack, positions]``."""


def _lengths(part: Factors, dtype: jnp.dtype) -> Lengths:
    """One reduction each: no matmul, whose rounding adds up where all its terms are alike."""
    right = jnp.sum(jnp.square(part.right.astype(dtype)), axis=3)
    left = jnp.ones_like(right) if part.left is None else jnp.sum(jnp.square(part.left.astype(dtype)), axis=3)
    return left, right


def _doubtful(parts: list[Factors], lengths: list[Lengths], values: Array, least: Array) -> Bool[Array, "slots"]:
    positions = sum(part.right.shape[2] for part in parts)
    # Positions that know nothing of each other have a ratio of 1 / positions.
    largest = jnp.square(sum(jnp.sum(jnp.sqrt(left * right), axis=2) for left, right in lengths))
    doubtful = ~(values * (4 * positions + 12) >= jnp.sum(largest, axis=1))
    for part, (left, right) in zip(parts, lengths, strict=True):
        doubtful |= _loses(part, left, right, values, least)
    return doubtful


def _loses(part: Factors, left: Array, right: Array, values: Array, least: Array) -> Bool[Array, "slots"]:
    """Whether squares under- or overflow that would count beside a value, or beside the least that does."""
    tiny = jnp.finfo(values.dtype).tiny
    columns, rows = part.right.shape[3], 1 if part.left is None else part.left.shape[3]
    positions = part.right.shape[1] * part.right.shape[2]
    lost = tiny * positions**2 * (columns * jnp.max(left, axis=(1, 2)) + rows * jnp.max(right, axis=(1, 2)))
    counts = jnp.finfo(values.dtype).eps * jnp.maximum(values, jnp.square(least.astype(values.dtype)))
    return ~jnp.isfinite(values) | ~(lost <= counts)


def _gram(part: Factors) -> tuple[Float[Array, "slots"], Lengths]:
    dtype = at_least_float32(part.right.dtype)
    left, right = _lengths(part, dtype)
    product = _inner(part.right, right, dtype)
    if part.ids is not None:
        same: Array = part.ids[:, :, :, None] == part.ids[:, :, None, :]
        return sum_rows(jnp.where(same, product, 0)), (left, right)
    assert part.left is not None
    return sum_rows(_inner(part.left, left, dtype) * product), (left, right)


def _cross(dense: Factors, picked: Factors) -> Float[Array, "slots"]:
    assert dense.left is not None
    assert picked.ids is not None
    dtype = at_least_float32(dense.right.dtype)
    right = jnp.einsum("bksi,bkti->bkst", dense.right, picked.right, precision=HIGHEST, preferred_element_type=dtype)
    left = jnp.take_along_axis(dense.left, picked.ids[:, :, None, :], axis=3).astype(dtype)
    return sum_rows(left * lax.optimization_barrier(right))


def _inner(x: Array, squares: Array, dtype: jnp.dtype) -> Float[Array, "slots stack positions positions2"]:
    """Inner products between positions, brought to the lengths that are known better.

    A matmul adds up one term after the other; where these are alike, so are their roundings, and those of all its
    inner products.
    """
    inner = jnp.einsum("bksi,bkti->bkst", x, x, precision=HIGHEST, preferred_element_type=dtype)
    inner = lax.optimization_barrier(inner)  # XLA's CPU backend would fuse two matmuls and their reduction: slower
    diagonal = jnp.diagonal(inner, axis1=2, axis2=3)
    right = jnp.where(diagonal > 0, jnp.sqrt(squares / jnp.where(diagonal > 0, diagonal, 1)), 1)
    return inner * right[:, :, :, None] * right[:, :, None, :]


def merged(part: Factors) -> Factors:
    """A picked part whose positions of one row are added up in the first of them: the gradient's own rows."""
    assert part.ids is not None
    dtype = at_least_float32(part.right.dtype)
    # Ids that are constants of the program would have XLA fold all of this, element by element, as it compiles.
    ids = jax.lax.optimization_barrier(part.ids)
    same = ids[:, :, :, None] == ids[:, :, None, :]
    first = jnp.argmax(same, axis=3) == jnp.arange(part.ids.shape[2])[None, None]
    into = (same & first[:, :, :, None]).astype(dtype)
    right = jnp.einsum("bkst,bkti->bksi", into, part.right.astype(dtype), precision=HIGHEST)
    return Factors(None, right, part.ids)


def clean(accepted: Bool[Array, "slots"], part: Factors) -> Factors:
    """Factors of the accepted slots, zero elsewhere: 0 × NaN would be NaN."""

    def keep(x: Array) -> Array:
        return jnp.where(accepted.reshape(-1, *[1] * (x.ndim - 1)), x, jnp.zeros((), x.dtype))

    return Factors(None if part.left is None else keep(part.left), keep(part.right), part.ids)


def to_base(gradient: Array, axes: Axes, base: tuple[int, ...]) -> Array:
    """``[…, stack, rows, columns]`` as ``[…, *base]``."""
    lead = gradient.shape[:-3]
    order = [*axes.stack, *axes.rows, *axes.columns]
    x = gradient.reshape(*lead, *(base[i] for i in order))
    back = [len(lead) + order.index(i) for i in range(len(base)) if i in order]
    return jnp.transpose(x, [*range(len(lead)), *back]).reshape(*lead, *base)
