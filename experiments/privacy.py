"""What a config's run is to the accountant: its sampler, its noise, and who that protects against whom."""

import math
from dataclasses import replace
from functools import partial

import jax

from dpjax import accounting, federated, sampling
from dpjax.accounting import Factorization, LocalReports, Participation, factorization_of
from dpjax.correlated_noise import correlated_privatizer
from dpjax.datasets import Released
from dpjax.federated.aggregation.secure import grid_levels
from dpjax.noise import gaussian_privatizer
from dpjax.results.mechanisms import columns_of
from dpjax.steps import MakePrivatizer
from experiments.accountable import adjacency, reports, threshold
from experiments.argument_fields import MECHANISM, SECURE, in_fields
from experiments.config import SHARED_NOISE, ConfigError, FederatedConf, PrivacyConf
from experiments.identity import capacity_epsilon


def mechanism_of(
    privacy: PrivacyConf,
    fed: FederatedConf,
    sampler: sampling.Sampler,
    *,
    num_steps: int,
    unit: str,
    dimension: int,
    local_sampler: sampling.Sampler | None = None,
    released: Released | None = None,
) -> accounting.Mechanism:
    """The mechanism of a run, read off the sampler that runs; of what jobs may differ in, it has stand-ins.

    Args:
      privacy, fed: parts of the config.
      sampler: of the cohorts.
      num_steps: of the run.
      unit: what a cohort is made of.
      dimension: coordinates of a message.
      released: what inputs were made with that was computed with noise; None: nothing.
      local_sampler: how clients draw their own rows, where ε protects those: each of them, and in every local step.

    Returns:
      A mechanism without noise yet, whose rounds are never given up; see ``as_run``.

    Raises:
      ValueError: noise that the sampling or the cohort has no room for.
    """
    drawn, noise, factorization = sampler, reports(privacy.noise), None
    if local_sampler is not None:
        drawn, unit, num_steps = local_sampler, "example", num_steps * fed.local_steps
    elif privacy.noise == "correlated":
        participation = Participation.from_sampler(sampler, num_steps)
        with in_fields(MECHANISM):
            factorization = factorization_of(privacy.factorization, participation, privacy.bands)
    elif privacy.noise in SHARED_NOISE:
        with in_fields(SECURE):
            noise = federated.distributed_noise(
                privacy.noise,
                dimension=dimension,
                slots=sampler.capacity,
                threshold=threshold(fed),
                bits=fed.bits,
                levels=fed.levels,
                colluding=privacy.colluding,
                secret_cohorts=privacy.secret_cohorts,
            )
    elif fed.aggregation == "secure":
        with in_fields(SECURE):  # where a program would say so once it is traced, in names of its own
            grid_levels(sampler.capacity, fed.bits, fed.levels, allow_wraparound=False, noised=False)
    with in_fields(MECHANISM):
        return accounting.Mechanism.from_sampler(
            drawn,
            unit=unit,
            adjacency=adjacency(privacy, sampler.sampling),
            num_steps=num_steps,
            factorization=factorization,
            noise=noise,
            records_per_unit=privacy.records_per_unit or 1,
            abort_probability=0.0,
            released=None if released is None else accounting.Release(released.noise_multiplier, released.delta),
        )


def as_run(
    planned: accounting.Mechanism,
    fed: FederatedConf,
    sampler: sampling.Sampler,
    noise_multiplier: float,
    epsilon_per_report: float | None = None,
) -> accounting.Mechanism:
    """The mechanism of one job: with its noise, and what its rounds that are given up say.

    Args:
      planned: of the job's group, from ``mechanism_of``.
      fed: the job's part of the config.
      sampler: of the cohorts.
      noise_multiplier: noise standard deviation / clip norm.
      epsilon_per_report: of clients that randomise their reports; None: it stays.
    """
    noise = planned.noise
    if isinstance(noise, LocalReports) and noise.pure and epsilon_per_report is not None:
        noise = LocalReports(noise.kind, epsilon_per_report)
    return replace(
        planned,
        noise_multiplier=noise_multiplier,
        noise=noise,
        abort_probability=abort_probability(fed, sampler, planned.num_steps) or 0.0,
    )


def abort_probability(fed: FederatedConf, sampler: sampling.Sampler, num_steps: int) -> float | None:
    """The chance that any round is given up, as far as that says who is there; None: no round can be.

    Args:
      fed: the federated part of the config.
      sampler: of the cohorts of clients.
      num_steps: rounds of the run.
    """
    if fed.clients_per_round is None or fed.aggregation != "secure":
        return None
    return accounting.abort_probability(
        sampler, num_steps=num_steps, threshold=threshold(fed), dropout_rate=fed.dropout_rate
    )


def check_aborts(ran: accounting.Mechanism, privacy: PrivacyConf, fed: FederatedConf) -> None:
    """Refuse rounds that may be given up, where ε does not pay for what that says.

    Args:
      ran: the mechanism of the job.
      privacy, fed: its parts of the config.

    Raises:
      ConfigError: the threshold is too near to the number of clients in a round.
    """
    if not privacy.is_private:
        return
    chance = ran.abort_probability if ran.noising.amplified else 0.0
    if not accounting.overflow_fits(chance, privacy.epsilon, privacy.delta):
        raise ConfigError(
            f"federated.threshold={fed.threshold:g} lets some round be aborted with chance {chance:.2g}, and "
            "whether one was depends on who is there, which no noise hides; use optimizer.sampling=fixed_size or more "
            "federated.clients_per_round, or a lower federated.threshold, which fewer clients and the server can undo."
        )


def make_privatizer(factorization: Factorization | None) -> MakePrivatizer:
    """What adds noise to the sum, correlated over the steps or not."""
    return gaussian_privatizer if factorization is None else partial(correlated_privatizer, factorization=factorization)


def clip_norm(privacy: PrivacyConf, fed: FederatedConf) -> float:
    """The bound on one unit: infinite for a reference without privacy, where nothing needs one."""
    whole = fed.clients_per_round is None or fed.aggregation == "plain"
    # A ring and a cipher hold bounded vectors only, with privacy or without.
    return math.inf if not privacy.is_private and whole else privacy.clip_norm


def noise_share(fed: FederatedConf) -> float:
    """The part of the noise that a simulated cohort gets in place of one as large as ``noise_cohort``."""
    return 1.0 if fed.noise_cohort is None else fed.expected_clients / fed.noise_cohort


def describe_noise(privacy: PrivacyConf, ran: accounting.Mechanism) -> str | None:
    """The noise in a word and its own number; None where there is no privacy."""
    if not privacy.is_private:
        return None
    return privacy.noise if privacy.noise == "inside_clients" else columns_of(ran)["noise"]


def local_sampler(
    privacy: PrivacyConf, fed: FederatedConf, *, num_steps: int, most_records: int
) -> sampling.Sampler | None:
    """How a client draws its own rows under ``privacy.noise=inside_clients``; None under any other.

    Args:
      privacy, fed: parts of the config.
      num_steps: rounds of the run.
      most_records: rows of the largest client.
    """
    if privacy.noise != "inside_clients":
        return None
    return sampling.poisson_sampler(
        most_records,
        fed.local_sampling_rate,
        num_steps=num_steps * fed.local_steps,
        epsilon=capacity_epsilon(privacy),
        delta=privacy.delta,
    )


def count_parameters(tree: object) -> int:
    """Coordinates of a message, from its shapes."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))
