"""Who one unit of a run is, as a ledger has to know: an owner by some column, or a client by a partition."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from experiments.config import Config
from experiments.own_data import OWN, table_of

if TYPE_CHECKING:
    from dpjax.governance.whose import Whose

_OF_ROWS = ("num_train", "validation", "split", "split_column", "split_at", "label", "unit", "missing")
"""Fields of ``data`` by which other rows train, or in another order, so that numbered ones are others."""

_OF_PARTITION = {
    "dirichlet": ("alpha",),
    "shards": ("shards_per_client",),
    "quantity": ("alpha",),
    "sampled": ("alpha", "records_per_client"),
}


def whose_of(cfg: Config, unit: str, columns: Mapping[str, Any], rows: str) -> Whose | None:
    """Who one unit of a run is.

    Owners are the same whichever of their rows train. Clients that a partition makes are the same where it shares out
    the same rows by the same numbers; no seed draws it, so that all seeds of a run have the same clients.

    Args:
      cfg: of a job.
      unit: of its mechanism.
      columns: of all rows, as they are stored.
      rows: id of their fingerprint.

    Returns:
      None: one row.

    Example:
      >>> from experiments.config import FederatedConf
      >>> cfg = Config(federated=FederatedConf(clients_per_round=5, num_clients=20))
      >>> whose_of(cfg, "client", {"sugar": [5.1, 7.2]}, "ab12").name
      'federated.partition=iid federated.num_clients=20'
    """
    from dpjax.governance.whose import Whose

    if unit == "example":
        return None
    if cfg.is_federated and cfg.federated.partition != "natural":
        return _of_partition(cfg, columns, rows)
    if (column := _owner_column(cfg)) is None:
        return Whose(f"data={cfg.data.name}", "", rows)
    return whose_by(column, columns, rows)


def whose_by(column: str, columns: Mapping[str, Any], rows: str) -> Whose:
    """Owners by a column of one's own table.

    Args:
      column: that says whose a row is.
      columns: of all rows.
      rows: id of their fingerprint.
    """
    from dpjax.governance.whose import Whose
    from dpjax.grouping import grouping_of

    return Whose(f"data.unit={column}", grouping_of(columns, column) if column in columns else "", rows)


def _owner_column(cfg: Config) -> str | None:
    """The column by which rows are somebody's; None: the data set itself knows."""
    from dpjax.datasets import own
    from dpjax.datasets.own_tables.arrays import resolved

    if cfg.data.name == OWN:
        return resolved(table_of(cfg.data)).unit or None
    return own.parse_name(cfg.data.name).owner_column if own.is_own(cfg.data.name) else None


def _of_partition(cfg: Config, columns: Mapping[str, Any], rows: str) -> Whose:
    from dpjax.governance.whose import Whose
    from dpjax.grouping import ordering_of

    fed, data = cfg.federated, cfg.data
    said = {f"federated.{name}": getattr(fed, name) for name in ("partition", "num_clients")}
    said |= {f"federated.{name}": getattr(fed, name) for name in _OF_PARTITION.get(fed.partition, ())}
    said |= {f"data.{name}": value for name in _OF_ROWS if (value := getattr(data, name))}
    name = " ".join(f"{field}={value}" for field, value in said.items())
    digest = hashlib.sha256(json.dumps([name, ordering_of(columns)]).encode()).hexdigest()
    return Whose(name, digest, rows)
