"""Count sketches: messages as a small table of signed sums, which the server decodes after adding them up."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, PyTree

from dpjax.checks import whole_number
from dpjax.contribution import ContributionFn, Reported
from dpjax.federated.compression import Flat, around, check_shapes, counted, flatten
from dpjax.solver import Solver, as_solver
from dpjax.types import Params, check_key


def count_sketch(learner: ContributionFn | Solver, *, rows: int, columns: int, key: Key[Array, ""]) -> Solver:
    """Messages as a small table of random signed sums, which the server adds up and only then decodes.

    Each row, by a hash that is the same for all clients and rounds, throws every coordinate with a random sign into one
    of its sums, divided by √rows, so that a table is as long as its message in the root mean square. The server's
    estimate of a coordinate is the median of what the rows say of it. A message costs 4 × rows × columns bytes.

    Formal guarantees: what is clipped, summed and noised is the table: one client moves their sum by at most the clip
    norm, whatever the hash does, and decoding is post-processing. Estimates are without bias over the draw of ``key``,
    but a run has one: what collides once, collides in every round. Noise of standard deviation s on the sum is 1 s (one
    row) to 1.25 s (many rows) in a decoded coordinate.

    Args:
      learner: what a client sends: a contribution function, or a ``Solver``, whose ``message_like`` says its shape.
      rows, columns: of the table, each ≥ 1.
      key: of the hash, which is public; use it nowhere else.

    Returns:
      The solver whose message is a table, and whose server's optimizer reads the noised mean of such tables.

    Raises:
      ValueError: a number out of range; when traced, a contribution that was compressed before.
      TypeError: no key, or no learner; when traced, a message of another shape than ``message_like`` says.

    Example:
      >>> sketched = count_sketch(lambda params, unit, key: (unit, {}), rows=5, columns=20, key=jax.random.key(1))
      >>> table, _ = sketched.contribution_fn(jnp.zeros(100), jnp.zeros(100).at[7].set(2.0), jax.random.key(0))
      >>> optimizer = sketched.wrap_optimizer(optax.sgd(1.0))
      >>> updates, _ = optimizer.update(table, optimizer.init(jnp.zeros(100)), jnp.zeros(100))
      >>> print(table.shape, updates.argmin(), updates.min().round(3))
      (5, 20) 7 -2.0

    References:
      Charikar et al., 2002 (https://doi.org/10.1007/3-540-45465-9_59); Rothchild et al., FetchSGD, 2020
      (https://arxiv.org/abs/2007.07682), whose memory of what was not yet moved is left out: it diverged here.
    """
    rows = whole_number("rows", rows, fix="it is a side of the table")
    columns = whole_number("columns", columns, fix="it is a side of the table")
    check_key("key", key)
    solver = as_solver(learner)

    def hashes(size: int) -> tuple[Int[Array, "rows size"], Float[Array, "rows size"]]:
        column_key, sign_key = jax.random.split(key)
        signs = jax.random.rademacher(sign_key, (rows, size), jnp.float32) / rows**0.5
        return jax.random.randint(column_key, (rows, size), 0, columns), signs

    def encode(flat: Flat) -> Float[Array, "rows columns"]:
        column, sign = hashes(flat.shape[0])
        return jax.vmap(lambda c, s: jax.ops.segment_sum(s.astype(flat.dtype) * flat, c, columns))(column, sign)

    def decode(table: Float[Array, "rows columns"], size: int) -> Flat:
        column, sign = hashes(size)
        return jnp.median(jnp.take_along_axis(table, column, axis=1) * sign.astype(table.dtype) * rows, axis=0)

    def send(params: Params, vector: Params, report: Reported, memory: PyTree[Array], key: Key[Array, ""]):
        del memory, key
        like = solver.message_like(params)
        check_shapes(like, vector, "clients send another shape than message_like says; give count_sketch the Solver")
        return encode(flatten(vector)[0]), counted(report, 4 * rows * columns)

    def wrap_optimizer(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
        inner = solver.wrap_optimizer(optimizer)

        def update(updates: Any, state: optax.OptState, params: Any = None):
            flat, restore = flatten(solver.message_like(params))
            return inner.update(restore(decode(updates, flat.shape[0])), state, params)

        return optax.GradientTransformation(inner.init, update)

    def message_like(carried: PyTree[Array]) -> Float[Array, "rows columns"]:
        return jnp.zeros((rows, columns), flatten(solver.message_like(carried))[0].dtype)

    return solver._replace(
        contribution_fn=around(solver.contribution_fn, send), wrap_optimizer=wrap_optimizer, message_like=message_like
    )
