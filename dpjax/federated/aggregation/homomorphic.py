"""Homomorphic aggregation: the server adds ciphertexts up, and only the key holder sees the sum."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ScalarLike

from dpjax.checks import whole_number
from dpjax.clipping import Aggregation
from dpjax.federated.aggregation.ckks import homomorphic_sum
from dpjax.federated.aggregation.messages import (
    Formed,
    Round,
    clipping_as_the_sum,
    formed_from_messages,
    still_there,
)
from dpjax.federated.aggregation.quantization import messages_on_grid
from dpjax.federated.side_keys import Purpose
from dpjax.ranges import DROPOUT_RATE


@clipping_as_the_sum
def homomorphic_aggregation(
    *,
    levels: int = 2**16,
    dropout_rate: ScalarLike = 0.0,
) -> Aggregation:
    """Sums contributions under CKKS encryption that really runs; clients' weights are applied under encryption too.

    Each client clips its contribution by the rule of the sum that this is put around, rounds it at random to a grid of
    clip norm / ``levels``, and encrypts that. Without weights the decrypted sum is rounded to the grid again, which
    makes it exact.

    Formal guarantees: the sum's sensitivity is the clip norm, rounding included. There is ONE secret key: key holder
    and server must not work together; see ``ckks.homomorphic_sum``. The noise of central DP is added by the key holder,
    after decryption. CKKS is approximate and hides nothing by its error.

    Args:
      levels: grid steps in a clip norm, from 1 to 2¹⁸.
      dropout_rate: chance that a client is lost before its message arrives, traced or not.

    Returns:
      For ``Summing(aggregation=...)``; needs a finite clip norm and the extra ``he``. Per step it reports
      ``dropped`` clients, ``aggregation_error`` (largest coordinate error / clip norm against the plain sum of who
      arrived), ``encrypt_seconds`` of all clients together, ``add_seconds``, ``decrypt_seconds`` and ``uplink_bytes``
      of a client.

    Raises:
      ValueError: a number out of range.
      ImportError: when run, if TenSEAL is not installed.

    Example:
      >>> from dpjax import Cohort, clipped_sum, example_gradient
      >>> encrypted_sum = homomorphic_aggregation()(clipped_sum)(example_gradient(lambda w, x, key: w * x))
      >>> cohort = Cohort(jnp.array([3.0, 0.5]), jnp.ones(2, bool))
      >>> out = jax.jit(encrypted_sum)(jnp.float32(0), cohort, jax.random.key(0), 1.0)
      >>> print(round(float(out.total), 3))  # 3, clipped to 1, and 0.5
      1.5

    References:
      Cheon et al., 2017 (https://eprint.iacr.org/2016/421).
    """
    levels = whole_number("levels", levels, most=2**18, fix="beyond, CKKS can't tell neighbours apart")
    lost = DROPOUT_RATE.number("dropout_rate", dropout_rate)

    def form(this: Round) -> Formed:
        cohort = this.cohort
        numbers = messages_on_grid(this, cohort._replace(weights=None), levels)
        arrived = still_there(cohort.mask, this.key, Purpose.LOST, lost)
        total, costs = _on_host(numbers, arrived, cohort.weights, levels)
        names = ("encrypt_seconds", "add_seconds", "decrypt_seconds", "uplink_bytes")
        return Formed(total * this.clip_norm, arrived, report=dict(zip(names, costs, strict=True)))

    return formed_from_messages(form, lost, bounded_for="a ciphertext")


def _on_host(numbers: Array, arrived: Array, weights: Array | None, levels: int) -> tuple[Array, tuple[Array, ...]]:
    """The sum in units of the clip norm, and what it cost."""

    def run(numbers: Any, arrived: Any, *weights: Any) -> Any:
        factors = np.clip(np.asarray(weights[0], np.float64), 0, 1) if weights else None
        done = homomorphic_sum(np.asarray(numbers, np.float64) / levels, np.asarray(arrived), factors)
        total = done.total if weights else np.rint(done.total * levels) / levels
        costs = done.encrypt_seconds, done.add_seconds, done.decrypt_seconds, done.bytes_per_client
        return total.astype(np.float32), tuple(np.float32(x) for x in costs)

    scalar = jax.ShapeDtypeStruct((), jnp.float32)
    shapes: Any = (jax.ShapeDtypeStruct(numbers.shape[1:], jnp.float32), (scalar,) * 4)
    given = (numbers, arrived) if weights is None else (numbers, arrived, jnp.nan_to_num(weights))
    return jax.pure_callback(run, shapes, *given, vmap_method="sequential")
