"""A table of one's own, as the config's fields of ``data`` describe it."""

from pathlib import Path
from typing import TYPE_CHECKING, cast

from experiments.config import DataConf

if TYPE_CHECKING:
    from dpjax.datasets.own_tables.source import Split, TableSource

OWN = "own"
"""The ``data.name`` that reads ``data.path``."""


def table_of(data: DataConf) -> "TableSource":
    """Where a table lies and what its columns are for.

    Args:
      data: the config's part, of a run whose ``data.name`` is ``OWN``.

    Example:
      >>> table_of(DataConf(name="own", path="patients.csv", label="ill")).label
      'ill'
    """
    from dpjax.datasets.own_tables.source import TableSource  # a run that is done already reads no table

    return TableSource(
        path=data.path,
        label=data.label,
        unit=data.unit or "",
        split=cast("Split | None", data.split),
        split_column=data.split_column or "",
        columns=data.columns,
        missing=tuple(data.missing),
        classes=tuple(data.classes),
    )


def name_of(data: DataConf) -> str:
    """What a row calls its data set.

    Args:
      data: the config's part.

    Example:
      >>> name_of(DataConf(name="own", path="files/patients.csv")), name_of(DataConf())
      ('patients.csv', 'digits')
    """
    return Path(data.path).name if data.name == OWN else data.name
