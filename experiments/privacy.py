"""What a config's run is to the accountant: its sampler, its noise, and who that protects against whom."""

import math
from typing import NamedTuple

import jax
from jaxtyping import Array, ArrayLike, Key
from optax import GradientTransformation

from dpjax import accounting, federated, sampling
from dpjax.accounting import DistributedNoise, Factorization, LocalReports, Participation
from dpjax.accounting.local import KINDS as REPORT_KINDS
from dpjax.accounting.recipes import factorization_of
from dpjax.correlated_noise import correlated_privatizer
from dpjax.noise import gaussian_privatizer
from dpjax.results.mechanisms import columns_of
from dpjax.steps import MakePrivatizer
from experiments.config import LOCAL_NOISE, SHARED_NOISE, Config, ConfigError, FederatedConf
from experiments.identity import capacity_epsilon
from experiments.validation import threshold


class Accounted(NamedTuple):
    """What does not change from point to point of a group.

    Attributes:
      sampler: who draws what ε protects: the cohorts' sampler, or a client's of its own rows.
      unit: of privacy: example, user or client.
      num_steps: noisy sums that one unit can be in.
      num_units: what ε protects; fewer than the sampler draws from, where it draws an owner's records one by one.
      records_per_unit: most of them that one unit owns.
      factorization: of correlated noise; None: independent.
      noise: what clients add themselves; None: noise on the sum.
    """

    sampler: sampling.Sampler
    unit: str
    num_steps: int
    num_units: int
    records_per_unit: int = 1
    factorization: Factorization | None = None
    noise: LocalReports | DistributedNoise | None = None


def accounted(
    cfg: Config,
    sampler: sampling.Sampler,
    unit: str,
    *,
    most_records: int,
    dimension: int,
    num_owners: int | None = None,
) -> Accounted:
    """Read off what runs.

    Args:
      cfg: of the group of jobs.
      sampler: of the cohorts.
      unit: what a cohort is made of.
      most_records: rows of the largest client; 0 if central.
      dimension: coordinates of a message.
      num_owners: units, where the sampler draws their records.

    Raises:
      ValueError: noise that the sampling or the cohort has no room for.
    """
    steps, noise, population = cfg.optimizer.num_steps, cfg.privacy.noise, sampler.population
    if num_owners is not None:
        return Accounted(sampler, unit, steps, num_owners, cfg.privacy.records_per_unit or 1)
    if noise == "correlated":
        return Accounted(sampler, unit, steps, population, factorization=_factorization(cfg, sampler))
    if noise == "inside_clients":
        local = local_sampler(cfg, most_records)
        return Accounted(local, "example", steps * cfg.federated.local_steps, local.population)
    if noise in LOCAL_NOISE:
        kind = LOCAL_NOISE[noise]
        reports = LocalReports(kind, 1.0 if REPORT_KINDS[kind].pure else None)
        return Accounted(sampler, unit, steps, population, noise=reports)
    if noise in SHARED_NOISE:
        shared = federated.distributed_noise(
            noise,
            dimension=dimension,
            slots=sampler.capacity,
            threshold=threshold(cfg.federated),
            bits=cfg.federated.bits,
            levels=cfg.federated.levels,
            colluding=cfg.privacy.colluding,
            secret_cohorts=cfg.privacy.secret_cohorts,
        )
        return Accounted(sampler, unit, steps, population, noise=shared)
    return Accounted(sampler, unit, steps, population)


def mechanism(
    cfg: Config, run: Accounted, noise_multiplier: float, epsilon_per_report: float | None = None
) -> accounting.Mechanism:
    """The mechanism that runs, read off the sampler that runs."""
    noise = run.noise
    if isinstance(noise, LocalReports) and noise.pure and epsilon_per_report is not None:
        noise = LocalReports(noise.kind, epsilon_per_report)
    return accounting.Mechanism.from_sampler(
        run.sampler,
        unit=run.unit,
        adjacency=adjacency(cfg),
        noise_multiplier=noise_multiplier,
        num_steps=run.num_steps,
        factorization=run.factorization,
        noise=noise,
        records_per_unit=run.records_per_unit,
        abort_probability=abort_probability_of(cfg, run),
    )


def abort_probability(cfg: Config, sampler: sampling.Sampler) -> float | None:
    """The chance that any round is given up, as far as that says who is there; None: no round can be.

    Args:
      cfg: of the job.
      sampler: of the cohorts of clients.
    """
    if not cfg.is_federated or cfg.federated.aggregation != "secure":
        return None
    return accounting.abort_probability(
        sampler,
        num_steps=cfg.optimizer.num_steps,
        threshold=threshold(cfg.federated),
        dropout_rate=cfg.federated.dropout_rate,
    )


def abort_probability_of(cfg: Config, run: Accounted) -> float:
    """The same as far as it says who is there of those that ε protects."""
    if cfg.privacy.noise == "inside_clients":  # which clients answer does not depend on the rows that ε protects
        return 0.0
    return abort_probability(cfg, run.sampler) or 0.0


def check_aborts(cfg: Config, run: Accounted) -> None:
    """Refuse rounds that may be given up, where ε does not pay for what that says.

    Raises:
      ConfigError: the threshold is too near to the number of clients in a round.
    """
    if not cfg.privacy.is_private:
        return
    relies_on_sampling = run.noise is None or run.noise.amplified
    chance = abort_probability_of(cfg, run) if relies_on_sampling else 0.0
    if not accounting.overflow_fits(chance, cfg.privacy.epsilon, cfg.privacy.delta):
        raise ConfigError(
            f"federated.threshold={cfg.federated.threshold:g} lets some round be aborted with chance {chance:.2g}, and "
            "whether one was depends on who is there, which no noise hides; use optimizer.sampling=fixed_size or more "
            "federated.clients_per_round, or a lower federated.threshold, which fewer clients and the server can undo."
        )


def adjacency(cfg: Config) -> str:
    """The neighbouring relation: the config's, or where it names none, that of its cohorts and noise."""
    independent = cfg.privacy.noise == "gaussian"
    return cfg.privacy.adjacency or accounting.default_adjacency(cfg.optimizer.sampling, independent=independent)


def has_pure_reports(run: Accounted) -> bool:
    """Whether what is calibrated is ε per report, as there is no noise multiplier."""
    return isinstance(run.noise, LocalReports) and run.noise.pure


def make_privatizer(run: Accounted) -> MakePrivatizer:
    """What adds noise to the sum."""
    if run.factorization is None:
        return gaussian_privatizer

    def correlated(stddev: ArrayLike, key: Key[Array, ""]) -> GradientTransformation:
        assert run.factorization is not None
        return correlated_privatizer(stddev, key, run.factorization)

    return correlated


def clip_norm(cfg: Config) -> float:
    """The bound on one unit: infinite for a reference without privacy, where nothing needs one."""
    whole = not cfg.is_federated or cfg.federated.aggregation == "plain"
    # A ring and a cipher hold bounded vectors only, with privacy or without.
    return math.inf if not cfg.privacy.is_private and whole else cfg.privacy.clip_norm


def noise_share(fed: FederatedConf) -> float:
    """The part of the noise that a simulated cohort gets in place of one as large as ``noise_cohort``."""
    return 1.0 if fed.noise_cohort is None else fed.expected_clients / fed.noise_cohort


def describe_noise(cfg: Config, ran: accounting.Mechanism) -> str | None:
    """The noise in a word and its own number; None where there is no privacy."""
    if not cfg.privacy.is_private:
        return None
    return cfg.privacy.noise if cfg.privacy.noise == "inside_clients" else columns_of(ran)["noise"]


def local_sampler(cfg: Config, most_records: int) -> sampling.Sampler:
    """How a client draws its own rows under ``privacy.noise=inside_clients``."""
    return sampling.poisson_sampler(
        most_records,
        cfg.federated.local_sampling_rate,
        num_steps=cfg.optimizer.num_steps * cfg.federated.local_steps,
        epsilon=capacity_epsilon(cfg),
        delta=cfg.privacy.delta,
    )


def _factorization(cfg: Config, sampler: sampling.Sampler) -> Factorization:
    participation = Participation.from_sampler(sampler, cfg.optimizer.num_steps)
    try:
        return factorization_of(cfg.privacy.factorization, participation, cfg.privacy.bands)
    except ValueError as error:
        raise ConfigError(f"privacy.factorization={cfg.privacy.factorization}: {error}") from error


def count_parameters(tree: object) -> int:
    """Coordinates of a message, from its shapes."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))
