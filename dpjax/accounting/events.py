"""A run as a dp-accounting event."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpjax.accounting.mechanism import Mechanism, check_accountable

if TYPE_CHECKING:
    import dp_accounting


def event(mechanism: Mechanism) -> dp_accounting.DpEvent:
    """The dp-accounting event of a run, for use with other tools that read such events.

    Formal guarantees: read as follows, the event accounts for the whole run under the mechanism's own neighbouring
    relation, but for overflow of a fixed capacity, aborted steps and the δ of released names, which are not in it;
    ``epsilon`` has them. Its
    ``GaussianDpEvent.noise_multiplier`` is standard deviation / clip norm, as that class documents. dp-accounting's PLD
    accountant reads it so under every relation; its RDP accountant divides by the sensitivity, so under REPLACE_ONE
    hand that one half the multiplier. Correlated noise is one Gaussian event, whatever the sampling. Records drawn one
    by one are a mixture of Gaussians, in which very unlikely numbers of them count as all that a unit owns; only
    dp-accounting's PLD accountant reads it.

    Args:
      mechanism: the run.

    Returns:
      One ``DpEvent``, steps composed.

    Raises:
      TypeError: no mechanism.
      ValueError: no event accounts for this pair of sampling and adjacency, or the clients add the noise.

    Example:
      >>> run = Mechanism(unit="client", adjacency="zero_out", sampling="full", sampling_rate=1.0, noise_multiplier=2.0,
      ...                 num_steps=3)
      >>> event(run)
      SelfComposedDpEvent(event=GaussianDpEvent(noise_multiplier=2.0), count=3)

    References:
      https://github.com/google/differential-privacy/tree/main/python/dp_accounting
    """
    check_accountable(mechanism)
    run = mechanism.noising.event(mechanism)
    if mechanism.released is None:
        return run
    import dp_accounting

    before = dp_accounting.GaussianDpEvent(mechanism.released.noise_multiplier)
    return dp_accounting.ComposedDpEvent([before, run])
