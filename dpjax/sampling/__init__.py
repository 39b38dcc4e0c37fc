"""Cohorts of fixed shape, and the samplers that draw them: what runs is what is accounted."""

from dpjax.sampling.balls_in_bins import BallsInBinsSampler, balls_in_bins_cohort, balls_in_bins_sampler
from dpjax.sampling.fixed_size import FixedSizeSampler, fixed_size_cohort, fixed_size_sampler
from dpjax.sampling.poisson import PoissonSampler, poisson_cohort, poisson_sampler
from dpjax.sampling.sampler import Sampler, SamplingInfo, check_sampler, draw_cohort
from dpjax.sampling.walks import (
    CyclicSampler,
    ShuffledSampler,
    cyclic_cohort,
    cyclic_sampler,
    shuffled_cohort,
    shuffled_sampler,
)

SAMPLERS: dict[str, type[Sampler]] = {
    kind.accounted_as.name: kind
    for kind in (PoissonSampler, FixedSizeSampler, ShuffledSampler, CyclicSampler, BallsInBinsSampler)
}
"""Name → sampler: all that a config can choose."""

__all__ = [
    "SAMPLERS",
    "BallsInBinsSampler",
    "CyclicSampler",
    "FixedSizeSampler",
    "PoissonSampler",
    "Sampler",
    "SamplingInfo",
    "ShuffledSampler",
    "balls_in_bins_cohort",
    "balls_in_bins_sampler",
    "check_sampler",
    "cyclic_cohort",
    "cyclic_sampler",
    "draw_cohort",
    "fixed_size_cohort",
    "fixed_size_sampler",
    "poisson_cohort",
    "poisson_sampler",
    "shuffled_cohort",
    "shuffled_sampler",
]
