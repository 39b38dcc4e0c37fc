"""Aborted rounds: whether a sum was released is seen by all who see what is released, and no noise is on it."""

from __future__ import annotations

from dpjax.accounting.mechanism import Sampler
from dpjax.checks import number, whole_number
from dpjax.ranges import NUM_STEPS


def abort_probability(
    sampler: Sampler,
    *,
    num_steps: int,
    threshold: int,
    dropout_rate: float = 0.0,
    late_dropout_rate: float = 0.0,
) -> float:
    """The chance that any step of a run is aborted, as far as an abort says something of who is there.

    For ``Mechanism(abort_probability=...)``, which has it paid out of δ as an overflow is. What an abort says depends
    on the sampler; every dropout is a coin of its own, which knows no data:

    - "poisson": how many were drawn differs from step to step, and in a step that was not aborted a unit is there with
      a larger chance than the sampling rate. So under every neighbouring relation an abort weakens the amplification by
      sampling, and under add-or-remove-one it shows by itself whether a unit is there.
    - "balls_in_bins": no amplification is claimed, but sizes differ with who is there as above.
    - "fixed_size": as many are drawn in every step, whoever exists. How many of them answer is decided by coins of
      slots, which say nothing of who is in them: 0.
    - "shuffled", "cyclic": the sizes of cohorts follow from the number of units, which is the same for both neighbours
      of every relation that is accounted with them, and no amplification is claimed: 0.

    Formal guarantees: never less than that chance, for the sampler's population and for one with a unit less, so for
    both neighbours of every pair: what the kind of sampling says of one step (``Sampling.too_few``; the exact binomial
    tail for the smaller population, and 1 from a kind that does not know), and a union bound over the steps.

    Args:
      sampler: of the cohorts; its ``sampling`` and the population of that are read.
      num_steps: steps of the run.
      threshold: answers without which a step is aborted.
      dropout_rate, late_dropout_rate: chances of a drawn unit not to answer, one after the other; the largest that the
        run can have.

    Returns:
      The bound, in [0, 1].

    Raises:
      ValueError: an argument out of range.

    Example:
      >>> from types import SimpleNamespace
      >>> from dpjax.accounting import Poisson
      >>> sampler = SimpleNamespace(sampling=Poisson(0.5, population=40), overflow_probability=0.0)
      >>> round(abort_probability(sampler, num_steps=1, threshold=20), 3)
      0.5

    References:
      Bonawitz et al. 2017 (secure aggregation), https://eprint.iacr.org/2017/281.
    """
    num_steps = NUM_STEPS.known("num_steps", num_steps)
    threshold = whole_number("threshold", threshold, least=0, fix="it is a number of clients")
    fix = "it is a share of the cohort"
    answering = 1.0
    for name, rate in (("dropout_rate", dropout_rate), ("late_dropout_rate", late_dropout_rate)):
        answering *= 1 - number(name, rate, least=0, most=1, fix=fix)
    return min(1.0, num_steps * sampler.sampling.too_few(threshold, answering)) if threshold else 0.0
