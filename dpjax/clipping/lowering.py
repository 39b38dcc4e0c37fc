"""Convolution and pooling as slices and matmuls, which stay fast when units are stacked on a CPU."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array


def lower(eqn: Any, values: Sequence[Any], stored: Sequence[bool] = ()) -> list[Any] | None:
    """The equation's outputs computed another way, or None if it is best left as it is.

    Args:
      eqn: the equation.
      values: its operands.
      stored: which of them are there before the program runs; (): none.
    """
    name = eqn.primitive.name
    if name == "dot_general" and _is_large(eqn):
        return [_fenced(eqn, values, stored)]
    if name == "conv_general_dilated":
        return [im2col(values[0], values[1], eqn.params)]
    if jax.default_backend() != "cpu":
        return None
    if name == "reduce_window_max" and _simple_window(eqn):
        return [pool(values[0], eqn.params, _first_maximum, -math.inf)]
    if name == "reduce_window_sum" and _simple_window(eqn):
        return [pool(values[0], eqn.params, lax.add, 0)]
    return None


def lower_stacked(eqn: Any, values: Sequence[Any], stored: Sequence[bool] = ()) -> list[Any] | None:
    """As ``lower``, for a computation that will be stacked with weights of its own for each unit."""
    if eqn.primitive.name == "dot_general" and _is_thin(eqn):
        return [_outer_products(eqn, values)]
    return lower(eqn, values, stored)


def _is_thin(eqn: Any) -> bool:
    """A matrix made of few outer products, as the weight gradient of a small batch is."""
    (contracted, _), (batch, _) = eqn.params["dimension_numbers"]
    left, right, out = eqn.invars[0].aval, eqn.invars[1].aval, eqn.outvars[0].aval
    if jax.default_backend() != "cpu" or batch or len(contracted) != 1 or left.ndim != 2 or right.ndim != 2:
        return False
    terms = left.shape[contracted[0]]
    return terms <= 16 and out.size >= 1024 and min(out.shape) >= 8 and jnp.issubdtype(out.dtype, jnp.floating)


def _outer_products(eqn: Any, values: Sequence[Any]) -> Array:
    """A matmul as a sum of outer products: stacked, XLA runs it on all cores and fuses it with what follows.

    Stacked matmuls of that shape run on one core.
    """
    ((left_axis,), (right_axis,)), _ = eqn.params["dimension_numbers"]
    left, right = jnp.moveaxis(values[0], left_axis, 0), jnp.moveaxis(values[1], right_axis, 0)
    turned = left.shape[1] > right.shape[1]  # loops are fastest along the longer side
    if turned:
        left, right = right, left
    dtype = eqn.outvars[0].aval.dtype
    out = sum(left[k].astype(dtype)[:, None] * right[k].astype(dtype)[None] for k in range(left.shape[0]))
    return jnp.transpose(out) if turned else jnp.asarray(out)


def _is_large(eqn: Any) -> bool:
    (contracted, _), _ = eqn.params["dimension_numbers"]
    left, out = eqn.invars[0].aval, eqn.outvars[0].aval
    work = 2 * out.size * math.prod(left.shape[i] for i in contracted)
    return jax.default_backend() == "cpu" and work >= 2**21


def _fenced(eqn: Any, values: Sequence[Any], stored: Sequence[bool]) -> Array:
    """A large matmul kept apart from its neighbours, forwards and backwards.

    XLA's CPU backend fuses softmax and GELU into loops around a matmul, which then computes them again and again. A
    stored operand has no such neighbour; behind a fence the backward pass of a loop would keep a copy of every slice.
    """
    fences = [not (stored and stored[i]) for i in range(len(values))]
    operands = [lax.optimization_barrier(x) if fence else x for x, fence in zip(values, fences, strict=True)]
    out = eqn.primitive.bind(*operands, **eqn.primitive.get_bind_params(eqn.params))
    return lax.optimization_barrier(out)


def im2col(inputs: Array, kernel: Array, params: dict[str, Any]) -> Array:
    """``lax.conv_general_dilated`` by copying every window into a row, then one matmul with the kernel.

    The kernel enters one ``dot_general`` only, so that its per-unit gradient is that of a dense layer.
    """
    numbers = params["dimension_numbers"]
    # Groups of examples are groups of channels, of which each then has one example less.
    if params["batch_group_count"] > 1:
        inputs = _batch_groups_as_features(inputs, params["batch_group_count"], numbers)
    groups = params["feature_group_count"] * params["batch_group_count"]
    space = range(1, inputs.ndim - 1)
    # Channels last, kernel as [*window, in, out]: the layouts whose innermost runs are longest.
    rows = jnp.transpose(inputs, (numbers.lhs_spec[0], *numbers.lhs_spec[2:], numbers.lhs_spec[1]))
    weights = jnp.transpose(kernel, (*numbers.rhs_spec[2:], numbers.rhs_spec[1], numbers.rhs_spec[0]))
    window, (group_in, features_out) = weights.shape[:-2], weights.shape[-2:]
    low_high = zip(params["padding"], params["lhs_dilation"], strict=True)
    config = [(0, 0, 0), *((low, high, step - 1) for (low, high), step in low_high), (0, 0, 0)]
    if any(any(c) for c in config):
        rows = lax.pad(rows, jnp.zeros((), rows.dtype), config)
    if groups > 1:
        rows = rows.reshape(*rows.shape[:-1], groups, group_in)
    # One axis after another, last first: sum(window) slices instead of prod(window), in the kernel's own order.
    for axis in reversed(space):
        size, step = window[axis - 1], params["rhs_dilation"][axis - 1]
        pieces = _slices(rows, axis, [i * step for i in range(size)], (size - 1) * step + 1, params, axis - 1)
        rows = jnp.concatenate(pieces, axis=-1) if len(pieces) > 1 else pieces[0]
    flat = weights.reshape(math.prod(window) * group_in, features_out)
    dot = partial(
        lax.dot_general, precision=params["precision"], preferred_element_type=params["preferred_element_type"]
    )
    if groups == 1:
        out = dot(rows, flat, (((rows.ndim - 1,), (0,)), ((), ())))
    else:
        flat = flat.reshape(flat.shape[0], groups, features_out // groups)
        out = dot(rows, flat, (((rows.ndim - 1,), (0,)), ((rows.ndim - 2,), (1,))))
        out = jnp.moveaxis(out, 0, -2).reshape(*rows.shape[:-2], features_out)
    # From [batch, *space, features] to the layout asked for.
    spec = numbers.out_spec
    order = [0] * out.ndim
    for position, source in zip((spec[0], *spec[2:], spec[1]), range(out.ndim), strict=True):
        order[position] = source
    return jnp.transpose(out, order)


def _batch_groups_as_features(inputs: Array, count: int, numbers: Any) -> Array:
    batch, feature = numbers.lhs_spec[:2]
    parts = jnp.stack(jnp.split(inputs, count, axis=batch), axis=feature)
    return lax.collapse(parts, feature, feature + 2)


def pool(inputs: Array, params: dict[str, Any], combine: Callable[[Array, Array], Array], empty: float) -> Array:
    """A window reduction, one axis after another: ``reduce_window`` with its gradient to the first maximum."""
    config = [(low, high, 0) for low, high in params["padding"]]
    pooled = inputs
    if any(any(c) for c in config):
        pooled = lax.pad(pooled, jnp.asarray(empty, inputs.dtype), config)
    for axis in reversed(range(inputs.ndim)):
        size = params["window_dimensions"][axis]
        if size == 1 and params["window_strides"][axis] == 1:
            continue
        pieces = _slices(pooled, axis, list(range(size)), size, params, axis)
        pooled = pieces[0]
        for piece in pieces[1:]:
            pooled = combine(pooled, piece)
    return pooled


def _first_maximum(largest: Array, new: Array) -> Array:
    # As select_and_scatter: of equal maxima the first gets the gradient, and NaN is never lost.
    return jnp.where((new > largest) | (new != new), new, largest)


def _simple_window(eqn: Any) -> bool:
    dilated = (*eqn.params["base_dilation"], *eqn.params["window_dilation"])
    few = math.prod(eqn.params["window_dimensions"]) <= 256 and sum(eqn.params["window_dimensions"]) <= 64
    return few and all(d == 1 for d in dilated) and jnp.issubdtype(eqn.outvars[0].aval.dtype, jnp.floating)


def _slices(
    inputs: Array, axis: int, offsets: list[int], span: int, params: dict[str, Any], stride_index: int
) -> list[Array]:
    """The strided slice along one axis that starts at each offset of a window ``span`` wide."""
    stride = params["window_strides"][stride_index]
    count = (inputs.shape[axis] - span) // stride + 1
    return [
        lax.slice_in_dim(inputs, offset, offset + (count - 1) * stride + 1, stride, axis=axis) for offset in offsets
    ]
