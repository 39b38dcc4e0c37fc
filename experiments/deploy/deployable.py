"""What processes that see only their own rows, and messages, can run; the rest is refused before anybody starts one."""

from experiments.config import Config, ConfigError


def refuse_undeployable(cfg: Config) -> None:
    """Refuse what processes that see each other's messages only can't do, before anybody starts one.

    Raises:
      ConfigError: the first field.
    """
    fed, privacy = cfg.federated, cfg.privacy

    def need(ok: bool, name: str, fix: str) -> None:
        if not ok:
            raise ConfigError(f"{name} can't be deployed: {fix}.")

    need(cfg.is_federated, "federated.clients_per_round=None", "it trains centrally; give the clients of a round")
    need(
        fed.algorithm in ("fedavg", "fedprox", "fedsgd", "fednova"),
        f"federated.algorithm={fed.algorithm}",
        "its clients remember, or send, more than one vector; use fedavg, fedprox or fedsgd",
    )
    need(
        not fed.client_ranks,
        f"federated.client_ranks={fed.client_ranks}",
        "a process does not say its rank yet; leave it empty, and all have tuning.rank",
    )
    need(not fed.adaptive_proximal, "federated.adaptive_proximal=true", "set it to false")
    need(
        fed.algorithm != "fednova" or fed.local_epochs is None,
        "federated.algorithm=fednova with local_epochs",
        "its usual steps follow from everybody's rows; use federated.local_steps",
    )
    need(fed.aggregation in ("plain", "secure"), f"federated.aggregation={fed.aggregation}", "use plain or secure")
    need(fed.masks, "federated.masks=false", "masks are what keeps a vector from the server; set it to true")
    need(
        fed.compression.name in ("none", "quantized"),
        f"federated.compression.name={fed.compression.name}",
        "use none or quantized",
    )
    need(
        fed.corruption.name == "none",
        f"federated.corruption.name={fed.corruption.name}",
        "real clients do that themselves",
    )
    need(
        fed.dropout_rate == 0 and fed.straggler_rate == 0,
        "federated.dropout_rate or straggler_rate above 0",
        "real clients do that themselves; leave them at 0",
    )
    need(fed.noise_cohort is None, "federated.noise_cohort", "it simulates a larger federation; leave it out")
    need(
        privacy.noise in ("gaussian", "correlated", "inside_clients", "skellam", "discrete_gaussian"),
        f"privacy.noise={privacy.noise}",
        "use gaussian, correlated, inside_clients, skellam or discrete_gaussian",
    )
    need(not privacy.secret_cohorts, "privacy.secret_cohorts=true", "the network shows who takes part; set it to false")
    need(cfg.clipping.name != "adaptive", "clipping=adaptive", "clients clip by themselves; use flat")
    need(cfg.engine != "tuned", "engine=tuned", "use auto")
    need(
        cfg.governance.name == "off",
        "governance=local",
        "enter its ε beforehand with `dpjax ledger enter`, and leave governance off",
    )
    need(not cfg.plugin, f"plugin={cfg.plugin}", "code of one side only; leave it out")
    need(
        cfg.data.validation == 0 and cfg.data.num_train is None,
        "data.validation or data.num_train",
        "no one holds all rows; leave them out",
    )
    need(
        fed.aggregation != "secure" or cfg.optimizer.sampling != "poisson",
        "optimizer.sampling=poisson with secure aggregation",
        "a round that is given up says who was there, and nobody knows how often real clients vanish; use fixed_size",
    )
