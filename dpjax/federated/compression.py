"""Compressed messages: what a client sends in fewer bytes, before the kernel bounds it."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Key, PyTree

from dpjax.contribution import ClientContribution, ClientRows, ContributionFn, Reported, as_reported
from dpjax.federated.aggregation.quantization import fair_uniform
from dpjax.federated.side_keys import Purpose, side_key
from dpjax.ranges import COORDINATE_BITS, COORDINATE_FRACTION
from dpjax.types import Params, Stateful, at_least_float32

Flat = Float[Array, "size"]
Send = Callable[[Params, Params, Reported, PyTree[Array], Key[Array, ""]], tuple[PyTree[Array], Reported]]
"""``send(params, vector, report, memory, key) -> (message, report)``; the memory is ``()`` if there is none."""


def quantized(contribution_fn: ContributionFn, bits: int) -> ContributionFn:
    """Coordinates rounded at random to a grid of ``bits`` bits between ± the message's largest entry.

    The scale, one float32 a message, is its largest absolute entry; on either side of zero are 2^(bits − 1) − 1 steps.
    A coin that leaves the mean where it was sends a coordinate up or down. It costs ⌈bits × size / 8⌉ + 4 bytes.

    Formal guarantees: the kernel clips what comes out, so that sensitivity and ε are those of any contribution. Before
    that clip there is no bias, to the 24 bits of the coins, and a variance of at most (scale / steps)² / 4 each; where
    rounding makes a message longer than the clip norm there is one. What is not finite stays so, and is rejected.

    Args:
      contribution_fn: such as ``client_delta(...)``; the result reports the ``uplink_bytes`` of one client too.
      bits: from 2 to 16, the sign among them.

    Returns:
      A contribution function of the same units, whose message has the same shapes, float32 where they were narrower.

    Raises:
      ValueError: ``bits`` out of range; when traced, a contribution that was compressed before.

    Example:
      >>> rough = quantized(lambda params, unit, key: (unit, {}), bits=2)  # −scale, 0 or scale
      >>> message, report = rough((), jnp.array([0.0, 0.0, -4.0, 0.0]), jax.random.key(0))
      >>> print(message, report.uplink_bytes)
      [ 0.  0. -4.  0.] 5.0

    References:
      Alistarh et al., QSGD, 2017 (https://arxiv.org/abs/1610.02132).
    """
    bits = COORDINATE_BITS.known("bits", bits)
    steps = 2 ** (bits - 1) - 1

    def compress(flat: Flat, key: Key[Array, ""]) -> Flat:
        scale = jnp.max(jnp.abs(flat))
        position = flat / jnp.where(scale > 0, scale, 1) * steps
        low = jnp.floor(position)
        up = fair_uniform(side_key(key, Purpose.QUANTIZED), flat.shape[0]).astype(flat.dtype) < position - low
        return (low + up.astype(flat.dtype)) * (scale / steps)

    return around(contribution_fn, flatly(compress, lambda size: math.ceil(bits * size / 8) + 4))


def random_k(contribution_fn: ContributionFn, fraction: float) -> ContributionFn:
    """A random part of the coordinates, made larger to stand for all: drawn afresh by each client in each round.

    Of d coordinates k = ⌈fraction × d⌉ are sent, times d / k. With the seed of the draw they cost 4 k + 4 bytes.

    Formal guarantees: as of ``quantized``; without bias before the clip. In the root mean square a message is √(d / k)
    times as long as the contribution: a clip norm made for contributions cuts most of it away, and that is a bias.

    Args:
      contribution_fn: see ``quantized``.
      fraction: share of the coordinates, in (0, 1].

    Returns:
      A contribution function; see ``quantized``.

    Raises:
      ValueError: ``fraction`` out of range; when traced, a contribution that was compressed before.

    Example:
      >>> half = random_k(lambda params, unit, key: (unit, {}), fraction=0.5)
      >>> message, report = half((), jnp.ones(10), jax.random.key(0))
      >>> sorted(message.tolist()) == [0.0] * 5 + [2.0] * 5, float(report.uplink_bytes)
      (True, 24.0)

    References:
      Konečný et al., Strategies for Improving Communication Efficiency, 2016 (https://arxiv.org/abs/1610.05492).
    """
    fraction = check_fraction(fraction)

    def compress(flat: Flat, key: Key[Array, ""]) -> Flat:
        size = flat.shape[0]
        chosen = jax.random.permutation(side_key(key, Purpose.CHOSEN_COORDINATES), size) < count_sent(fraction, size)
        return jnp.where(chosen, flat * (size / count_sent(fraction, size)), 0)

    return around(contribution_fn, flatly(compress, lambda size: 4 * count_sent(fraction, size) + 4))


class Residual(NamedTuple):
    """What a client has not sent yet under ``top_k(..., error_feedback=True)``, and what it remembers besides.

    Attributes:
      residual: pytree like a message.
      state: pytree; of the solver within, ``()`` if it has none.
    """

    residual: PyTree[Array]
    state: PyTree[Array]


def remember_residual(
    init_unit_state: Callable[[PyTree[Array]], PyTree[Array]] | None = None,
    message_like: Callable[[PyTree[Array]], PyTree[Array]] = lambda params: params,
) -> Callable[[PyTree[Array]], Residual]:
    """The ``init_unit_state`` for ``top_k(..., error_feedback=True)``, around that of a solver such as SCAFFOLD.

    Formal guarantees: every client begins with the same zeros. What it keeps back later is neither bounded nor noised,
    and stays with it like every unit's state: only the client itself may see it.

    Args:
      init_unit_state, message_like: of the ``Solver``, where it has them.

    Returns:
      What the run carries at first → ``Residual(residual, state)``, zeros in the shape of a message and the solver's
      own state.

    Example:
      >>> print(remember_residual()(jnp.ones(2)).residual)
      [0. 0.]
    """
    init_state = init_unit_state or (lambda params: ())
    return lambda params: Residual(jax.tree.map(jnp.zeros_like, message_like(params)), init_state(params))


def top_k(contribution_fn: ContributionFn, fraction: float, *, error_feedback: bool = False) -> ContributionFn:
    """The largest coordinates only; with ``error_feedback`` a client adds what it kept back to its next message.

    Of d coordinates the k = ⌈fraction × d⌉ largest in size are sent, of equals the first: 4 k bytes, and for their
    places k × ⌈log₂ d⌉ bits or a map of d bits, whichever is less.

    Formal guarantees: as of ``quantized``, but biased towards zero, which error feedback makes up for over rounds. The
    residual stays with the client, like every unit's state; of what the clip cuts off it knows nothing.

    Args:
      contribution_fn: see ``quantized``. With ``error_feedback`` what it sends is shaped like what the run carries.
      fraction: share of the coordinates, in (0, 1].
      error_feedback: needs ``Solver(init_unit_state=remember_residual(...))``.

    Returns:
      A contribution function; see ``quantized``.

    Raises:
      ValueError: ``fraction`` out of range; when traced, a contribution that was compressed before.
      TypeError: when traced, error feedback without a residual, or with one of another shape than the contribution.

    Example:
      >>> sparse = top_k(lambda params, unit, key: (unit, {}), 0.5)
      >>> print(sparse((), jnp.array([1.0, -3.0, 2.0]), jax.random.key(0))[0])
      [ 0. -3.  2.]

    References:
      Stich et al., Sparsified SGD with Memory, 2018 (https://arxiv.org/abs/1809.07599).
    """
    fraction = check_fraction(fraction)

    def cost(size: int) -> int:
        count = count_sent(fraction, size)
        return 4 * count + math.ceil(min(count * math.ceil(math.log2(size)), size) / 8)

    sparse = flatly(lambda flat, key: largest(flat, fraction), cost)

    def send(params: Params, vector: Params, report: Reported, memory: PyTree[Array], key: Key[Array, ""]):
        check_shapes(memory, vector, "the residual is not shaped like what the client sends; leave out error_feedback")
        due = jax.tree.map(lambda x, kept_back: x + kept_back.astype(x.dtype), vector, memory)
        message, report = sparse(params, due, report, (), key)
        inner_state = () if report.unit_state is None else report.unit_state
        left = jax.tree.map(lambda x, sent: x.astype(sent.dtype) - sent, due, message)
        return message, report._replace(unit_state=Residual(left, inner_state))

    return around(contribution_fn, send, True) if error_feedback else around(contribution_fn, sparse)


def around(contribution_fn: ContributionFn, send: Send, remembers: bool = False) -> ContributionFn:
    """``contribution_fn`` with ``send`` after it; a client's rows are still gathered as it asks for them."""

    def split(state: PyTree[Array]) -> tuple[PyTree[Array], PyTree[Array]]:
        if remembers and not isinstance(state, Residual):
            raise TypeError("error_feedback=True needs Solver(..., init_unit_state=remember_residual()); give it.")
        return (state.residual, state.state) if isinstance(state, Residual) and remembers else ((), state)

    if isinstance(contribution_fn, ClientContribution):
        local = contribution_fn.work

        def work(
            params: Params, rows: ClientRows, state: PyTree[Array], key: Key[Array, ""]
        ) -> tuple[Params, Reported]:
            memory, inner_state = split(state)
            vector, beside = local(params, rows, inner_state, key)
            return send(params, vector, as_reported(beside), memory, key)

        return ClientContribution(work)

    def contribution(params: Params, unit: PyTree[Array], key: Key[Array, ""]) -> tuple[Params, Reported]:
        data, state = unit if isinstance(unit, Stateful) else (unit, ())
        memory, inner_state = split(state)
        inner_unit = Stateful(data, inner_state) if jax.tree.leaves(inner_state) else data
        vector, beside = contribution_fn(params, inner_unit, key)
        return send(params, vector, as_reported(beside), memory, key)

    return contribution


def flatly(compress: Callable[[Flat, Key[Array, ""]], Flat], cost: Callable[[int], int]) -> Send:
    """A flat vector's compression as that of a pytree, with its price for so many coordinates."""

    def send(params: Params, vector: Params, report: Reported, memory: PyTree[Array], key: Key[Array, ""]):
        del params, memory
        flat, restore = flatten(vector)
        # What is not finite must stay so, or the kernel would count what is left of it.
        sent = jnp.where(jnp.all(jnp.isfinite(flat)), compress(flat, key), jnp.nan)
        return restore(sent), counted(report, cost(flat.shape[0]))

    return send


def counted(report: Reported, price: int) -> Reported:
    """The report with what a message costs in bytes."""
    if report.uplink_bytes is not None:
        raise ValueError("uplink_bytes are counted already: the contribution is compressed twice; compress it once.")
    return report._replace(uplink_bytes=jnp.float32(price))


def flatten(tree: PyTree[Array]) -> tuple[Flat, Callable[[Flat], PyTree[Array]]]:
    """One vector, and its way back; a narrow type is left behind: it would round what was rounded without bias."""
    dtype = at_least_float32(*(x.dtype for x in jax.tree.leaves(tree)))
    return ravel_pytree(jax.tree.map(lambda x: x.astype(dtype), tree))


def largest(flat: Flat, fraction: float) -> Flat:
    """A share of the coordinates, the largest in size; zeros elsewhere."""
    _, index = jax.lax.top_k(jnp.abs(flat), count_sent(fraction, flat.shape[0]))
    return jnp.zeros_like(flat).at[index].set(flat[index])


def count_sent(fraction: float, size: int) -> int:
    """How many coordinates that share is."""
    return max(1, math.ceil(fraction * size - 1e-9))


def check_fraction(fraction: float) -> float:
    """The share, or ValueError unless it is above 0 and known, as it decides a shape."""
    return COORDINATE_FRACTION.known("fraction", fraction)


def check_shapes(one: PyTree[Array], other: PyTree[Array], words: str) -> None:
    """Raise TypeError, in these words, unless both are the same tree of the same shapes."""
    if jax.tree.map(jnp.shape, one) != jax.tree.map(jnp.shape, other):
        raise TypeError(f"{words}.")
