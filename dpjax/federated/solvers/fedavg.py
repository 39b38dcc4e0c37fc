"""FedAvg and its kin: local training, and nothing remembered or sent beside it."""

from typing import Any

import optax
from jaxtyping import Array, Float

from dpjax.contribution import LossFn
from dpjax.contributions import client_delta
from dpjax.solver import Solver


def fedavg(
    loss_fn: LossFn,
    local_optimizer: optax.GradientTransformation,
    *,
    proximal: float | Float[Array, ""] = 0.0,
    **local: Any,
) -> Solver:
    """FedAvg, FedProx with ``proximal`` > 0, FedNova with ``effective_steps``.

    Reptile is FedAvg under a server's ``optax.sgd`` below 1.

    Formal guarantees: those of ``client_delta``, which is all that clients send; they remember nothing.

    Args:
      loss_fn, local_optimizer, proximal: as for ``client_delta``.
      **local: ``num_steps``, ``num_epochs``, ``batch_size``, ``straggler_rate``, ``effective_steps``.

    Returns:
      A solver that carries the model's parameters and nothing else.

    Raises:
      ValueError, TypeError: as ``client_delta``.

    Example:
      >>> import optax
      >>> fedavg(lambda w, x, key: (w - x) ** 2, optax.sgd(0.1), num_steps=5).init_unit_state is None
      True

    References:
      McMahan et al., 2017 (https://arxiv.org/abs/1602.05629); Li et al., 2020 (https://arxiv.org/abs/1812.06127).
    """
    return Solver(client_delta(loss_fn, local_optimizer, proximal=proximal, **local))
