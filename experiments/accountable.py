"""Whether anything accounts for what a config names, before a number of it is known: the accountant is asked itself."""

import math

from dpjax.accounting import (
    DistributedNoise,
    LocalReports,
    Mechanism,
    Participation,
    Sampling,
    default_adjacency,
    sampling_of,
    tree_aggregation,
)
from dpjax.accounting.local import KINDS
from experiments.argument_fields import MECHANISM, in_fields
from experiments.config import LOCAL_NOISE, SHARED_NOISE, Config, FederatedConf, PrivacyConf


def refuse_unaccounted(cfg: Config) -> None:
    """Refuse kinds of sampling, noise and neighbours that don't go together, or that the accountant can't calibrate.

    The library says which: it is given a mechanism of those kinds, with stand-ins for all numbers.

    Raises:
      ConfigError: in the accountant's sentence, about fields.

    Example:
      >>> try:
      ...     refuse_unaccounted(Config(privacy=PrivacyConf(noise="laplace")))
      ... except ValueError as error:
      ...     print(str(error)[:65])
      privacy.adjacency=zero_out must be replace_one with local reports
    """
    privacy, noise = cfg.privacy, cfg.privacy.noise
    if noise == "inside_clients":  # of which the sampling is each client's own
        return
    shared = DistributedNoise(noise, dimension=1, levels=1, shares=1) if noise in SHARED_NOISE else None
    with in_fields(MECHANISM):
        kinds = Mechanism(
            unit="user" if privacy.records_per_unit else "client" if cfg.is_federated else "example",
            adjacency=adjacency(privacy, cfg.optimizer.sampling),
            sampling=sampling_of(cfg.optimizer.sampling, sampling_rate=0.5, population=2),
            noise_multiplier=0.0,
            num_steps=1,
            factorization=tree_aggregation(Participation(1, 1, 1)) if noise == "correlated" else None,
            noise=reports(noise) or shared,
            records_per_unit=privacy.records_per_unit or 1,
        )
        kinds.noising.check(kinds)
        if privacy.is_private and not kinds.noising.pure:
            kinds.noising.check_calibration(privacy.accountant)


def adjacency(privacy: PrivacyConf, sampling: str | Sampling) -> str:
    """The neighbouring relation: the config's, or where it names none, that of its cohorts and noise.

    Args:
      privacy: the config's part.
      sampling: how cohorts are drawn.
    """
    return privacy.adjacency or default_adjacency(sampling, independent=privacy.noise == "gaussian")


def reports(noise: str, epsilon_per_report: float = 1.0) -> LocalReports | None:
    """The noise that clients put on their own reports; None: they put none.

    Args:
      noise: the field ``privacy.noise``.
      epsilon_per_report: of kinds that have one; 1 stands in for one that is yet to be calibrated.
    """
    if noise not in LOCAL_NOISE:
        return None
    kind = LOCAL_NOISE[noise]
    return LocalReports(kind, epsilon_per_report if KINDS[kind].pure else None)


def threshold(fed: FederatedConf) -> int:
    """Clients whose shares rebuild a secret under secure aggregation."""
    return max(2, math.ceil(fed.threshold * fed.expected_clients))
