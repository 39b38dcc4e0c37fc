"""What can't be run is refused before anything is computed, in one sentence with the field, the value and the fix."""

import re
from typing import Any

from dpjax.checks import seed_number
from dpjax.ranges import RESOLVED_EPSILON, WARMUP_STEPS
from experiments.accountable import refuse_unaccounted, threshold
from experiments.combinations import validate_messages, validate_noise
from experiments.config import Config, ConfigError
from experiments.fields import value_of
from experiments.limits import refuse_out_of_range
from experiments.on_disk import validate_on_disk


def validate(cfg: Config) -> None:
    """Refuse what can't run, before anything is computed: each field by itself, then what does not go together.

    Raises:
      ConfigError: the first field that is wrong.
    """
    refuse_out_of_range(cfg)

    def need(ok: bool, name: str, fix: str) -> None:
        if not ok:
            raise ConfigError(f"{name}={value_of(cfg, name)} {fix}.")

    _validate_numbers(cfg)
    need(
        re.fullmatch(r"|[\w+][\w .+-]{0,99}", cfg.name) is not None,
        "name",
        "names a folder; give letters, digits, points and dashes, at most 100",
    )
    need(
        cfg.data.validation == 0 or cfg.model.task != "synthetic",
        "data.validation",
        "is not for model.task=synthetic, whose texts are tested by their readers; leave it at 0",
    )
    need(
        cfg.tracker.name == "none" or not cfg.governance.seal,
        "tracker.name",
        "keeps results open elsewhere, which governance.seal=true seals; use none",
    )
    need("{class}" in cfg.synthesis.instruction, "synthesis.instruction", "must hold {class}, the name of a class")
    need(
        re.fullmatch(r"auto|map|vmap|[1-9][0-9]*|chunk\([1-9][0-9]*\)", cfg.lanes) is not None,
        "lanes",
        "is not known; use auto, map, vmap or a number ≥ 1 of lanes at a time",
    )
    _validate_optimizer(cfg, need)
    validate_on_disk(cfg, need)
    if cfg.plugin:
        from experiments.plugins import load_plugin  # jax, which no other config needs here

        load_plugin(cfg.plugin)
    validate_noise(cfg, need)
    if cfg.is_federated:
        _validate_federated(cfg, need)
    refuse_unaccounted(cfg)


def _validate_numbers(cfg: Config) -> None:
    """Numbers whose range is another field's."""
    try:
        if cfg.privacy.is_private:
            fix = "accountants resolve no other, and inf trains without privacy"
            RESOLVED_EPSILON._replace(fix=fix).known("privacy.epsilon", cfg.privacy.epsilon)
        seed_number("seed", cfg.seed, count=cfg.num_seeds)
        steps = cfg.optimizer.num_steps
        WARMUP_STEPS._replace(most=steps).known("optimizer.warmup_steps", cfg.optimizer.warmup_steps)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _validate_optimizer(cfg: Config, need: Any) -> None:
    need(
        cfg.optimizer.ema == 0 or not cfg.is_federated,
        "optimizer.ema",
        "is for central training; leave it at 0, or use a server optimizer with momentum",
    )
    need(
        cfg.optimizer.name != "adam_corrected" or cfg.privacy.noise == "gaussian",
        "optimizer.name",
        f"takes out independent noise on the sum, not privacy.noise={cfg.privacy.noise}; use adam",
    )
    need(
        cfg.optimizer.name != "adam_corrected" or cfg.clipping.name != "adaptive",
        "optimizer.name",
        "needs a clip norm that stays; use adam, or clipping=flat",
    )


def _validate_federated(cfg: Config, need: Any) -> None:
    fed, clients = cfg.federated, cfg.federated.num_clients
    need(
        fed.expected_clients <= clients or fed.partition == "natural",
        "federated.clients_per_round",
        f"is more than the population of federated.num_clients={clients}; lower it or add clients",
    )
    need(
        cfg.engine != "bookkeeping" or fed.algorithm == "fedsgd",
        "engine",
        f"takes gradients, and a {fed.algorithm} client sends what it has learnt; use auto or microbatch",
    )
    need(
        fed.partition != "sampled" or fed.records_per_client is not None,
        "federated.records_per_client",
        "must be given with federated.partition=sampled",
    )
    need(
        fed.local_epochs is None or fed.algorithm != "scaffold",
        "federated.local_epochs",
        "is not for scaffold, whose control variates take equal numbers of steps; use federated.local_steps",
    )
    need(
        fed.weights == "uniform" or not cfg.privacy.is_private,
        "federated.weights",
        "are private and would change the sensitivity; use uniform, or privacy.epsilon=inf",
    )
    validate_messages(cfg, need)
    if fed.aggregation != "plain":
        _validate_aggregation(cfg, need)


def _validate_aggregation(cfg: Config, need: Any) -> None:
    fed, clients = cfg.federated, cfg.federated.expected_clients
    need(
        cfg.clipping.name != "adaptive",
        "clipping.name",
        f"is not for federated.aggregation={fed.aggregation}, whose grid follows a fixed clip norm; use flat",
    )
    need(clients >= 2, "federated.clients_per_round", "must be at least 2 where nobody may see a single message")
    need(
        threshold(fed) <= clients,
        "federated.threshold",
        f"is a threshold above the cohort of {clients} clients; lower it",
    )
