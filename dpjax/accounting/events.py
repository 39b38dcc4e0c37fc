"""A run as a dp-accounting event, and which runs nothing accounts for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpjax.accounting.mechanism import WALKS, Mechanism
from dpjax.checks import instance

if TYPE_CHECKING:
    import dp_accounting


def event(mechanism: Mechanism) -> dp_accounting.DpEvent:
    """The dp-accounting event of a run, for use with other tools that read such events.

    Its `GaussianDpEvent.noise_multiplier` is standard deviation / clip norm, as that class documents. dp-accounting's
    PLD accountant reads it so under every relation; its RDP accountant divides by the sensitivity, so under REPLACE_ONE
    hand that one half the multiplier. `epsilon` takes care of this. Overflow of a fixed capacity is not in the event.
    Correlated noise is one Gaussian event, whatever the sampling. Records drawn one by one are a mixture of Gaussians,
    in which very unlikely numbers of them count as all that a unit owns; only dp-accounting's PLD accountant reads it.

    Args:
      mechanism: the run.

    Returns:
      An event that, under the mechanism's own neighbouring relation, accounts for the whole run.

    Raises:
      ValueError: no event accounts for this pair of sampling and adjacency.

    Example:
      >>> run = Mechanism(unit="client", adjacency="zero_out", sampling="full", sampling_rate=1.0, noise_multiplier=2.0,
      ...                 num_steps=3)
      >>> event(run)
      SelfComposedDpEvent(event=GaussianDpEvent(noise_multiplier=2.0), count=3)

    References:
      https://github.com/google/differential-privacy/tree/main/python/dp_accounting
    """
    check_accountable(mechanism)
    if mechanism.noise is not None:
        raise ValueError("noise is added by the clients, for which dp-accounting has no event; use epsilon")
    import dp_accounting as dpa

    noise = dpa.GaussianDpEvent(mechanism.noise_multiplier)
    if mechanism.factorization is not None:
        return noise
    if mechanism.records_per_unit > 1:
        return dpa.SelfComposedDpEvent(_drawn_records(mechanism), mechanism.num_steps)
    if mechanism.sampling == "poisson":
        step = dpa.PoissonSampledDpEvent(mechanism.sampling_rate, noise)
    elif mechanism.sampling == "fixed_size" and mechanism.adjacency == "add_or_remove_one":
        # A unit that joins a fixed-size cohort pushes another out: distance 2, else as Poisson. See `domination.py`.
        step = dpa.PoissonSampledDpEvent(mechanism.sampling_rate, dpa.GaussianDpEvent(mechanism.noise_multiplier / 2))
    elif mechanism.sampling == "fixed_size":
        step = dpa.SampledWithoutReplacementDpEvent(mechanism.population or 0, mechanism.cohort_size, noise)
    else:
        step = noise
    return dpa.SelfComposedDpEvent(step, mechanism.num_participations)


def _drawn_records(mechanism: Mechanism) -> dp_accounting.DpEvent:
    """A step that draws the records of a unit, and not the unit."""
    import dp_accounting as dpa

    records = int(mechanism.records_per_unit)
    if mechanism.sampling_rate == 1:
        return dpa.GaussianDpEvent(mechanism.noise_multiplier / records)
    import numpy as np
    from dp_accounting.dp_event import MixtureOfGaussiansDpEvent

    from dpjax.accounting.mixture import folded_chances

    counts, log_chances = folded_chances(records, mechanism.sampling_rate)
    return MixtureOfGaussiansDpEvent(
        mechanism.noise_multiplier, tuple(counts.tolist()), tuple(np.exp(log_chances).tolist())
    )


def check_accountable(mechanism: Mechanism) -> None:
    """Raise ValueError if nothing accounts for this pair of sampling and adjacency, TypeError if it is no mechanism."""
    instance("mechanism", mechanism, Mechanism, fix="make one, such as Mechanism.from_sampler(...)")
    if mechanism.adjacency != "add_or_remove_one":
        return
    if mechanism.sampling in WALKS:
        raise ValueError(
            f"adjacency is 'add_or_remove_one' with sampling={mechanism.sampling!r}, for which no event accounts "
            "because a unit that joins moves the others between cohorts; use 'zero_out' or 'replace_one', or "
            "sampling='poisson'"
        )
    if mechanism.sampling == "fixed_size" and mechanism.factorization is not None:
        raise ValueError(
            "adjacency is 'add_or_remove_one' with sampling='fixed_size' and correlated noise, for which no event "
            "accounts because a unit that joins pushes others out; use 'zero_out' or 'replace_one'"
        )
