"""Reports from a sphere: whole vectors told without bias at pure ε, by a proof that holds for floating-point numbers.

A client that holds v, ‖v‖ ≤ 1, in d dimensions draws g, a standard normal vector, which knows nothing of v. It reports
s B g / ‖g‖, where the sign s = ±1 is the only thing that depends on v:

1. It aims at v with chance (1 + ‖v‖) / 2, else at -v.
2. With chance q = 1 / (1 + e^ε) it lies: s is such that s g points away from the aim, else towards it.

**Privacy.** Whatever v and g are, s is each of its two signs with a chance from q to 1 - q: step 2 is a randomised
response, and step 1 mixes its two answers. So given the line {g, -g}, on which v has no influence, the chances of a
report under any two v differ by a factor of (1 - q) / q = e^ε at most, and by just that for v and -v of length 1. Real
numbers have no part in this: however g·v is rounded, or if it is not a number, the lie is drawn by itself. It is drawn
as ``uniform < q`` with a uniform on a grid from 0, whose chance is q rounded up to the grid, after q itself was raised
by more than float32 can have rounded it down. From ε = 15 on q
stays at 3e-7, as less could not be drawn; reports gain nothing from there on.

**Without bias.** s g points at the aim with mean (1 - 2q) E|g₁| / ‖g‖ along it and 0 across it, by symmetry;
1 - 2q = tanh(ε/2), and for a uniform direction E|g₁|/‖g‖ = Γ(d/2) / (√π Γ((d+1)/2)). Step 1's mean of the aim is v. So
B = √π Γ((d+1)/2) / (Γ(d/2) tanh(ε/2)) makes the report's mean v.

**Noise.** ‖report‖ = B always, so E‖report - v‖² = B² - ‖v‖², and B² ≤ d π / (2 tanh²(ε/2)).

References:
  Duchi, Jordan & Wainwright, Minimax Optimal Procedures for Locally Private Estimation, 2018, their strategy for the
  ℓ₂ ball (https://arxiv.org/abs/1604.02390).
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from dpjax.gaussian import standard_normal

LARGEST_EPSILON = 15.0
_FLOAT32_STEP = 2.0**-23


def sphere_length(size: int, epsilon: Float[Array, ""]) -> Float[Array, ""]:
    """The length B of all reports of vectors with so many coordinates.

    Example:
      >>> print(f"{sphere_length(1, jnp.float32(2.0)):.3f}")  # randomised response: 1 / tanh(1)
      1.313
    """
    along = math.lgamma(size / 2) - math.lgamma((size + 1) / 2) - math.log(math.pi) / 2
    return math.exp(-along) / jnp.tanh(jnp.minimum(epsilon, LARGEST_EPSILON) / 2)


def chance_of_a_lie(epsilon: Float[Array, ""]) -> Float[Array, ""]:
    """q, what a uniform has to be below.

    Example:
      >>> print(f"{chance_of_a_lie(jnp.log(3.0)):.4f}")
      0.2500
    """
    rounded = jax.nn.sigmoid(-jnp.minimum(epsilon, LARGEST_EPSILON))
    return jnp.minimum(rounded * (1 + 4 * _FLOAT32_STEP), 0.5)  # never less than it is without rounding


def sphere_report(row: Float[Array, "size"], key: Key[Array, ""], epsilon: Float[Array, ""]) -> Float[Array, "size"]:
    """A report of a whole vector, direction and length, from the sphere of radius ``sphere_length``.

    Formal guarantees: pure ε between any two rows, whatever they hold, zero and not-a-number among them; see the
    module for the proof. Without bias for rows of norm 1 or less.

    Args:
      row: a contribution / clip norm.
      key: of this report.
      epsilon: pure ε, above 0.

    Returns:
      A vector of the row's shape whose mean is the row.

    Example:
      >>> report = sphere_report(jnp.array([0.6, 0.0]), jax.random.key(0), jnp.float32(1.0))
      >>> print(f"{jnp.linalg.norm(report):.3f} {sphere_length(2, jnp.float32(1.0)):.3f}")
      3.399 3.399
    """
    place, aim_key, lie_key = jax.random.split(key, 3)
    direction = standard_normal(place, row.shape)
    towards = direction @ row > 0
    turned = jax.random.uniform(aim_key) < (1 - jnp.linalg.norm(row)) / 2
    lies = jax.random.uniform(lie_key) < chance_of_a_lie(epsilon)
    sign = jnp.where(towards ^ turned ^ lies, 1.0, -1.0)
    return sign * sphere_length(len(row), epsilon) / jnp.linalg.norm(direction) * direction
