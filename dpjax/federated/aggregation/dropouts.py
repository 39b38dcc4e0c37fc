"""Faults of clients that a simulation can have."""

from jaxtyping import Array, Float, Key, ScalarLike

from dpjax.checks import spoilt_by
from dpjax.clipping import Aggregation, SumFactory
from dpjax.contribution import ContributionFn
from dpjax.federated.aggregation.messages import count_lost, heard, still_there
from dpjax.federated.side_keys import Purpose
from dpjax.ranges import DROPOUT_RATE
from dpjax.types import ClippedSum, Cohort, Params


def dropouts(rate: ScalarLike) -> Aggregation:
    """Clients that were drawn, and are never heard: each by its own coin, whatever it holds.

    Formal guarantees: a sum of fewer contributions has the same sensitivity. Dropouts do not amplify: ε stays that of
    the sampler. What a lost client remembers stays as it was.

    Args:
      rate: chance of each client, in [0, 1], traced or not.

    Returns:
      For ``Summing(aggregation=...)``; reports ``dropped`` clients. Around another aggregation or within it: to that
      they are not there, and a quorum does not count them.

    Raises:
      ValueError: a rate out of range; a traced one gives a sum of NaN.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from dpjax import Cohort, clipped_sum, example_gradient
      >>> lossy = dropouts(1.0)(clipped_sum)(example_gradient(lambda w, x, key: w * x))
      >>> out = lossy(jnp.float32(0), Cohort(jnp.ones(4), jnp.ones(4, bool)), jax.random.key(0), 1.0)
      >>> print(out.total, out.report["dropped"])
      0.0 4
    """
    lost_share = DROPOUT_RATE.number("dropout_rate", rate)

    def aggregation(factory: SumFactory) -> SumFactory:
        def make(contribution_fn: ContributionFn):
            inner = factory(contribution_fn)

            def fun(
                params: Params, cohort: Cohort, key: Key[Array, ""], clip_norm: float | Float[Array, ""]
            ) -> ClippedSum:
                arrived = still_there(cohort.mask, key, Purpose.LOST, lost_share)
                out = inner(params, cohort._replace(mask=arrived), key, clip_norm)
                accepted = heard(out, arrived)
                arrived = arrived if out.arrived is None else out.arrived  # lost within counts too
                report = dict(out.report) | {"dropped": count_lost(cohort, arrived)}
                total = spoilt_by(out.total, lost_share)
                return out._replace(total=total, accepted=accepted, arrived=arrived, report=report)

            return fun

        return make

    return aggregation
