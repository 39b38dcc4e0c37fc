"""Local privacy: every client randomises its own report, so that nobody need be trusted with it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtri
from jax.scipy.stats import norm as normal
from jaxtyping import Array, Float, Key, ScalarLike

from dpjax.accounting.local import KINDS, MAX_REPORT_EPSILON
from dpjax.checks import number, one_of
from dpjax.clipping import Aggregation
from dpjax.federated.aggregation.messages import Formed, Round, clipped_rows, clipping_as_the_sum, formed_from_messages
from dpjax.federated.aggregation.sphere import sphere_length, sphere_report
from dpjax.federated.side_keys import Purpose, side_key
from dpjax.gaussian import standard_normal
from dpjax.ranges import NOISE_MULTIPLIER
from dpjax.types import Added

Report = Float[Array, "size"]


@clipping_as_the_sum
def local_privacy(
    kind: str,
    *,
    noise_multiplier: ScalarLike | None = None,
    epsilon_per_report: ScalarLike | None = None,
) -> Aggregation:
    """Adds up reports that were randomised by their clients, in place of contributions.

    A client clips its contribution by the rule of the sum that this is put around, and randomises what is left.

    Formal guarantees: a report is one mechanism of ``Mechanism(noise=LocalReports(kind, ...))`` under replace-one,
    against the server too: of a client that takes part, whatever it holds, the server sees its report and no more. A
    contribution that is not finite is reported as zero, with all the noise. The step adds no noise of its own.

    Args:
      kind: ``"gaussian"`` (standard deviation noise multiplier × clip norm in each coordinate), ``"laplace"`` (the
        contribution's L1 norm is bounded by the clip norm, and its noise has scale 2 × clip norm / ε), ``"privunit"``
        (only the direction is told, at the length of the clip norm) or ``"sphere"`` (direction and length are).
      noise_multiplier: of ``"gaussian"``, ≥ 0, traced or not.
      epsilon_per_report: pure ε of a report of any other kind, in (0, 500], traced or not.

    Returns:
      For ``Summing(aggregation=...)``; needs a finite clip norm and holds slots × parameters in memory.
      ``ClippedSum.noise`` is the noise of ONE report in a coordinate / clip norm; per step it reports ``uplink_bytes``.

    Raises:
      ValueError: an unknown kind, or a number out of range, missing, or of no use to the kind. A traced one out of
        range gives a sum of NaN.

    Example:
      >>> from dpjax import Cohort, clipped_sum, example_gradient
      >>> reports = local_privacy("gaussian", noise_multiplier=1.0)(clipped_sum)
      >>> fun = reports(example_gradient(lambda w, x, key: w @ x))
      >>> out = fun(jnp.zeros(1000), Cohort(jnp.zeros((4, 1000)), jnp.ones(4, bool)), jax.random.key(0), 1.0)
      >>> print(out.total.std().round(1))  # four reports' noise
      2.0

    References:
      Duchi, Jordan & Wainwright, 2013 (https://arxiv.org/abs/1302.3203); PrivUnit: Bhowmick et al., 2018
      (https://arxiv.org/abs/1812.00984).
    """
    pure = KINDS[one_of("kind", kind, KINDS)].pure
    given, other = (epsilon_per_report, noise_multiplier) if pure else (noise_multiplier, epsilon_per_report)
    name = "epsilon_per_report" if pure else "noise_multiplier"
    if given is None or other is not None:
        raise ValueError(f"kind={kind!r} is set by {name} and by nothing else; give that one.")
    if pure:
        checked = number(name, given, above=0, most=MAX_REPORT_EPSILON, fix="it is one report's ε")
    else:
        checked = NOISE_MULTIPLIER.number(name, given)
    randomise, spread = REPORTS[kind]

    def form(this: Round) -> Formed:
        cohort = this.cohort
        rows = clipped_rows(this, cohort._replace(weights=None))
        keys = jax.random.split(side_key(this.key, Purpose.REPORTS), len(rows))
        amount = jnp.asarray(checked, jnp.float32)
        reports = jax.vmap(randomise, in_axes=(0, 0, None))(rows / this.clip_norm, keys, amount)
        # p_k are public, so the server weighs what it was told.
        weights = 1.0 if cohort.weights is None else jnp.clip(jnp.nan_to_num(cohort.weights), 0, 1)
        total = jnp.where(cohort.mask, weights, 0.0) @ reports * this.clip_norm
        return Formed(
            total, noise=Added(spread(amount, this.size)), report={"uplink_bytes": jnp.float32(4 * this.size)}
        )

    return formed_from_messages(form, checked, bounded_for="a randomised report")


def _gaussian(row: Report, key: Key[Array, ""], amount: Float[Array, ""]) -> Report:
    return row + amount * standard_normal(key, row.shape)


def _laplace(row: Report, key: Key[Array, ""], amount: Float[Array, ""]) -> Report:
    bounded = row / jnp.maximum(jnp.sum(jnp.abs(row)), 1.0)
    return bounded + 2 / amount * jax.random.laplace(key, row.shape, row.dtype)


class Cap(NamedTuple):
    """PrivUnit's choice at a given ε.

    Attributes:
      threshold: how far along the true direction the cap begins, in standard deviations.
      log_mass: log of the chance of a normal variable to lie beyond it, which itself may be below every float32.
      probability: chance that a report comes from the cap.
      length: mean of a report along the true direction; what reports are divided by.
    """

    threshold: Float[Array, ""]
    log_mass: Float[Array, ""]
    probability: Float[Array, ""]
    length: Float[Array, ""]


def privunit_cap(epsilon: Float[Array, ""]) -> Cap:
    """The cap whose reports have the least noise at ε ≤ 500: densities inside and outside are e^ε : 1.

    Everything is a sum of logarithms: at ε = 100 the cap holds 1e-40 of the normal distribution, at 500 1e-214.

    Example:
      >>> print(privunit_cap(jnp.float32(1.0)).length.round(3), privunit_cap(jnp.float32(8.0)).length.round(2))
      0.397 2.74
    """
    thresholds = jnp.arange(-100, 3501).astype(jnp.float32) / 100
    inside = normal.logsf(thresholds)
    odds = inside - normal.logcdf(thresholds) + epsilon
    both = inside + jax.nn.softplus(-odds)
    lengths = normal.logpdf(thresholds) + jnp.log(-jnp.expm1(-epsilon)) - both
    best = jnp.argmax(lengths)
    return Cap(thresholds[best], inside[best], jax.nn.sigmoid(odds[best]), jnp.exp(lengths[best]))


def _beyond(threshold: Float[Array, ""], log_mass: Float[Array, ""], uniform: Float[Array, ""]) -> Float[Array, ""]:
    """A normal variable beyond a threshold, by inversion: where the log of the chance to lie beyond has the value.

    That log is concave, so that from the second of Newton's steps on they come down to the root, twice as many digits
    a step; the first overshoots, and each of the next halves what is too much.
    """
    target = log_mass + jnp.log(uniform)

    def step(_: Any, x: Float[Array, ""]) -> Float[Array, ""]:
        beyond = normal.logsf(x)
        return jnp.maximum(x + (beyond - target) * jnp.exp(beyond - normal.logpdf(x)), threshold)

    return jax.lax.fori_loop(0, 16, step, threshold)


def privunit(row: Report, key: Key[Array, ""], amount: Float[Array, ""]) -> Report:
    """A report of a vector's direction: normal around it, more often in the cap that it points at.

    Formal guarantees: pure ε between any two rows, zero among them, as at every point the density is a normal one times
    one of two numbers whose ratio is e^ε. Without bias for unit vectors.

    Args:
      row: any vector; of zero a direction is drawn.
      key: of this report.
      amount: ε.

    Returns:
      Its mean is ``row / ‖row‖``; a coordinate's standard deviation is about 1 / ``privunit_cap(ε).length``.
    """
    zero_key, side, place_key, rest_key = jax.random.split(key, 4)
    largest = jnp.max(jnp.abs(row), initial=0.0)
    # Of entries whose squares underflow, a length would be wrong: 1 is then the largest of them.
    scaled = row / jnp.maximum(largest, jnp.finfo(row.dtype).tiny)
    aim = jnp.where(largest >= jnp.finfo(row.dtype).tiny, scaled, standard_normal(zero_key, row.shape))
    aim = aim / jnp.linalg.norm(aim)
    cap = privunit_cap(amount)
    uniform = jax.random.uniform(place_key, minval=2.0**-24)
    inside = jax.random.bernoulli(side, cap.probability)
    below = jnp.minimum(ndtri(-jnp.expm1(cap.log_mass) * uniform), cap.threshold)
    along = jnp.where(inside, _beyond(cap.threshold, cap.log_mass, uniform), below)
    rest = standard_normal(rest_key, row.shape)
    return ((along - rest @ aim) * aim + rest) / cap.length


class Randomiser(NamedTuple):
    """How a kind of report is made.

    Attributes:
      report: ``report(row, key, amount)``; the row is the contribution / clip norm, the amount the kind's own number.
      spread: (the amount, coordinates) → standard deviation of a report's noise in one of them / clip norm.
    """

    report: Callable[[Report, Key[Array, ""], Float[Array, ""]], Report]
    spread: Callable[[Float[Array, ""], int], Float[Array, ""]]


REPORTS: dict[str, Randomiser] = {
    "gaussian": Randomiser(_gaussian, lambda noise_multiplier, size: noise_multiplier),
    "laplace": Randomiser(_laplace, lambda epsilon, size: 2 * jnp.sqrt(2.0) / epsilon),
    "privunit": Randomiser(privunit, lambda epsilon, size: 1 / privunit_cap(epsilon).length),
    "sphere": Randomiser(sphere_report, lambda epsilon, size: sphere_length(size, epsilon) / size**0.5),
}
"""Kind → how its reports are made; ``dpjax.accounting.local.KINDS`` has what they cost."""
