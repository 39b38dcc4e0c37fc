"""Adapters of another rank for each client: those with less room hold, train and send fewer rows of them."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key, PyTree

from dpjax.contribution import ClientContribution, ClientRows, LossFn, Reported, as_reported
from dpjax.ranges import RANK
from dpjax.solver import Solver
from dpjax.types import Params, PerUnit


def draw_ranks(population: int, ranks: Sequence[int], *, seed: int) -> Int[np.ndarray, "population"]:
    """Ranks of clients, as many of each, dealt out without regard to what clients hold.

    Formal guarantees: the deal follows from public numbers alone, so that a rank says nothing of a client's data.

    Args:
      population: number of clients.
      ranks: to deal out, each ≥ 1.
      seed: of the deal, which is public.

    Returns:
      ``[population]`` int32.

    Raises:
      ValueError: no ranks, or one that is none.

    Example:
      >>> np.bincount(draw_ranks(6, [1, 2], seed=0)).tolist()
      [0, 3, 3]
    """
    if not len(ranks):
        raise ValueError("ranks=[] names no rank; give each that a client may have, such as [4, 8, 16].")
    known = np.array([RANK.known("ranks", rank) for rank in ranks], np.int32)
    return np.random.default_rng(seed).permutation(known[np.arange(population) % len(known)])


def ranked_clients(
    make_solver: Callable[[LossFn], Solver], loss_fn: LossFn, client_ranks: Int[np.ndarray, "population"]
) -> Solver:
    """A solver whose clients have adapters of different ranks on one shared, frozen ``a``.

    An adapter adds ``scale · a @ b`` to a dense layer. ``a`` is public and the same for all; a client of rank r gets
    the first r rows of ``b``, trains those with the same scale, and sends their change; its others are zero.

    Formal guarantees: the products are linear in ``b``, so that the change of the server's product is exactly the mean
    of the changes of the clients' products, whatever their ranks. With both factors trained it would not be: the mean
    of products is no product of means. A message is ONE vector, rows beyond the rank zero, which the kernel clips as a
    whole; so a client moves the sum by at most the clip norm, as any does. Ranks are public: choose them without
    looking at data.

    Args:
      make_solver: loss → solver of clients that remember nothing, as ``fedavg``.
      loss_fn: as for ``client_delta``, on the trained parameters.
      client_ranks: ``[population]``, in the order of the units; see ``draw_ranks``.

    Returns:
      A solver whose clients remember their rank and report the ``uplink_bytes`` of it: 4 a number that is sent.

    Raises:
      ValueError: from ``init``: ``a`` is trained, there is no adapter, or a rank is above the adapters'.
      TypeError: when traced, of clients that do no local work, or that remember something.

    Example:
      >>> import optax
      >>> from dpjax.federated import fedavg
      >>> make = lambda loss: fedavg(loss, optax.sgd(0.1), num_steps=2)
      >>> loss_fn = lambda p, x, key: jnp.sum(p["lora"]["b"] - x) ** 2
      >>> solver = ranked_clients(make, loss_fn, np.array([1, 2]))
      >>> carried = solver.init({"lora": {"b": jnp.zeros((2, 3))}})
      >>> solver.init_unit_state(carried).value.tolist()
      [1, 2]

    References:
      Sun et al., Improving LoRA in Privacy-preserving Federated Learning, 2024 (https://arxiv.org/abs/2403.12313), of
      the frozen factor; Cho et al., 2024 (https://arxiv.org/abs/2401.06432) and Wang et al., 2024
      (https://arxiv.org/abs/2409.05976), of clients with different ranks.
    """
    ranks = jnp.asarray(client_ranks, jnp.int32)
    plain = make_solver(loss_fn)

    def work(params: Params, rows: ClientRows, state: PyTree[Array], key: Key[Array, ""]) -> tuple[Params, Reported]:
        def held_loss(local: Params, example: PyTree[Array], key: Key[Array, ""]) -> Any:
            return loss_fn(keep_rows(local, state), example, key)

        contribution = make_solver(held_loss).contribution_fn
        if not isinstance(contribution, ClientContribution) or plain.init_unit_state is not None:
            raise TypeError(
                "clients of different ranks do local work and remember nothing else; use fedavg or fedprox."
            )
        vector, beside = contribution.work(keep_rows(params, state), rows, (), key)
        sent = keep_rows(vector, state)
        return sent, as_reported(beside)._replace(unit_state=state, uplink_bytes=_bytes(sent, state))

    def init(params: Params) -> PyTree[Array]:
        check_ranks(params, np.asarray(client_ranks))
        return plain.init(params)

    return plain._replace(
        contribution_fn=ClientContribution(work), init=init, init_unit_state=lambda carried: PerUnit(ranks)
    )


def keep_rows(params: Params, rank: Int[Array, ""] | int) -> Params:
    """Trained parameters with the first rows of each adapter's ``b``, and zeros in place of the others.

    Args:
      params: pytree; an adapter is what lies under ``lora``, ``[..., rank, features]``.
      rank: rows to keep.

    Example:
      >>> print(keep_rows({"lora": {"b": jnp.ones((2, 1))}, "head": jnp.ones(2)}, 1)["lora"]["b"])
      [[1.]
       [0.]]
    """

    def one(path: jax.tree_util.KeyPath, x: Array) -> Array:
        if not _is_factor(path, "b"):
            return x
        kept = jnp.arange(x.shape[-2]) < rank
        return jnp.where(kept[:, None], x, jnp.zeros((), x.dtype))

    return jax.tree_util.tree_map_with_path(one, params)


def check_ranks(params: Params, client_ranks: Int[np.ndarray, "population"]) -> None:
    """Refuse parameters whose adapters clients of these ranks can't share.

    Raises:
      ValueError: ``a`` is trained, there is no adapter, or a rank is above the adapters'.
    """
    paths = jax.tree_util.tree_leaves_with_path(params)
    if any(_is_factor(path, "a") for path, _ in paths):
        raise ValueError(
            "freeze_a=False trains both factors, and the mean of their products is no product of means; set it to True."
        )
    rows = {x.shape[-2] for path, x in paths if _is_factor(path, "b")}
    if not rows:
        raise ValueError("name has no adapter to cut; use lora.")
    if client_ranks.max() > min(rows):
        raise ValueError(f"client_ranks={client_ranks.max()} is above rank={min(rows)}; raise rank to the largest.")


def _is_factor(path: jax.tree_util.KeyPath, name: str) -> bool:
    parts = [str(getattr(part, "key", getattr(part, "name", part))) for part in path]
    return parts[-2:] == ["lora", name]


def _bytes(sent: Params, rank: Int[Array, ""]) -> Array:
    total = jnp.float32(0)
    for path, x in jax.tree_util.tree_leaves_with_path(sent):
        if _is_factor(path, "b"):
            rows = x.shape[-2]
            total += (4 * x.size // rows) * jnp.minimum(rank, rows).astype(jnp.float32)
        else:
            total += 4.0 * x.size
    return total
