"""What ``data.on_disk=true`` can't run is refused before anything is read."""

from typing import Any

from experiments.config import Config


def validate_on_disk(cfg: Config, need: Any) -> None:
    """Refuse what reads training rows otherwise than as they are drawn, one by one.

    Args:
      cfg: of a job.
      need: ``need(ok, field, fix)`` refuses a field.

    Raises:
      ConfigError: the first field that is wrong.
    """
    if not cfg.data.on_disk:
        return
    data, shown = cfg.data, "with data.on_disk=true"
    need(
        not cfg.is_federated,
        "federated.clients_per_round",
        f"shares rows out among clients, which {shown} is not done; leave it null",
    )
    need(data.unit is None, "data.unit", f"says whose rows are, which {shown} is not read; data.columns may skip it")
    need(
        cfg.privacy.records_per_unit is None,
        "privacy.records_per_unit",
        f"needs to know whose rows are, which {shown} is not read; leave it null",
    )
    need(data.split != "owner", "data.split", f"needs owners of rows, which {shown} are not read; use column or time")
    need(
        data.split != "time" or data.split_at is not None,
        "data.split_at",
        f"must be given with data.split=time {shown}, as the last fifth is read off all rows",
    )
    for name in ("text", "messages", "tokens", "size", "channels"):
        value = getattr(data, name)
        need(not value, f"data.{name}", f"is of texts, token ids and images, and {shown} tables are read; leave it out")
    need(data.encoding is None, "data.encoding", f"is not read {shown}: Parquet and Arrow say it themselves")
    need(not data.release, "data.release", f"counts all rows before a run, which {shown} is not done; say their ranges")
    need(
        data.validation == 0, "data.validation", f"takes rows out of training, which {shown} is not done; leave it at 0"
    )
    need(data.num_train is None, "data.num_train", f"keeps rows of a shuffle, which {shown} is not done; leave it null")
    need(
        cfg.model.name not in ("pretrained", "scattering"),
        "model.name",
        f"reads all rows before it trains, which {shown} is not done; use logistic or mlp",
    )
    need(cfg.engine != "tuned", "engine", f"measures with rows in memory, and {shown} there are none; use auto")
