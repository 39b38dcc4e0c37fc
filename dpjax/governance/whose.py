"""Who one unit of a budget is: runs add up where they protect the same ones, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol, runtime_checkable

from dpjax.governance.errors import LedgerError


@runtime_checkable
class Budgeted(Protocol):
    """What has a budget: its name, and whom that is for."""

    @property
    def name(self) -> str:
        """Of the data set."""
        ...

    @property
    def unit(self) -> str:
        """What it protects: example, user or client."""
        ...

    @property
    def adjacency(self) -> str:
        """Of its neighbours."""
        ...


class Whose(NamedTuple):
    """What makes rows one unit's.

    Attributes:
      name: the settings that say it, as ``data.unit=patient``.
      digest: of how rows are shared out, see ``dpjax.grouping``; empty: nobody could look.
      rows: id of the fingerprint of these rows.
    """

    name: str
    digest: str
    rows: str

    def same(self, other: Whose) -> bool:
        """Whether both share out rows alike: by what they do to the same rows, else by what they are called.

        Args:
          other: of a budget whose rows may have become more.

        Example:
          >>> patient = Whose("data.unit=patient", "5e1f", "ab12")
          >>> patient.same(patient._replace(name="data.unit=who")), patient.same(patient._replace(digest="77aa"))
          (True, False)
        """
        if self.rows == other.rows and self.digest and other.digest:
            return self.digest == other.digest
        return self.name == other.name


NOTE = {"type": "NoOpDpEvent"}
"""What is spent by saying who the unit is."""


def read_whose(found: Any) -> Whose | None:
    """As a ledger keeps it.

    Args:
      found: what JSON holds; None: nobody said it.

    Raises:
      ValueError: it is none.
    """
    if found is None:
        return None
    if not isinstance(found, list | tuple) or len(found) != 3 or not all(isinstance(each, str) for each in found):
        raise ValueError("whose")
    return Whose(*found)


def agreed(said: Iterable[Whose | None]) -> Whose | None:
    """Who the unit is, of all that counts: whoever spoke first. None: nobody has.

    Args:
      said: by each, oldest first.
    """
    return next((each for each in said if each is not None), None)


def check_whose(data_set: Budgeted, known: Whose | None, said: Iterable[Whose | None]) -> None:
    """Raise LedgerError where runs protect others than a budget adds up, or each somebody else.

    Args:
      data_set: with its budget.
      known: who its unit is; None: nobody has said it yet.
      said: by each run.
    """
    for each in () if data_set.unit == "example" else said:
        if known is None:
            known = each
        elif each is None:
            raise LedgerError(
                f"data {data_set.name} adds up what one {data_set.unit} by {known.name} is exposed to, and this run "
                f"does not say who its {data_set.unit}s are; run it with {known.name}."
            )
        elif not each.same(known):
            mine = each.name if each.name != known.name else f"other rows of each by {each.name}"
            raise LedgerError(
                f"data {data_set.name} adds up what one {data_set.unit} by {known.name} is exposed to, and this run is "
                f"for {mine}, which no theorem adds to it; run it with {known.name} as before."
            )


def check_entry(data_set: Budgeted, known: Whose | None, unit: str | None, adjacency: str | None) -> None:
    """Raise LedgerError unless what another tool has spent is for a budget's unit and neighbours.

    Args:
      data_set: with its budget.
      known: who its unit is.
      unit, adjacency: that its numbers are for; None: nobody said it, which is enough for a budget of examples.
    """
    wanted = {"unit": data_set.unit, "adjacency": data_set.adjacency}
    by = f" by {known.name}" if known is not None else ""
    for name, value in {"unit": unit, "adjacency": adjacency}.items():
        if value is None and data_set.unit != "example":
            raise LedgerError(
                f"data {data_set.name} has a budget per {data_set.unit}{by}, {data_set.adjacency}; if the tool's "
                f"numbers are for one of these, say --unit {data_set.unit} --adjacency {data_set.adjacency}, and if "
                f"for one row, compute them for a {data_set.unit} first."
            )
        if value is not None and value != wanted[name]:
            raise LedgerError(
                f"{name}={value} is not that of the budget of {data_set.name}, which is per {data_set.unit}{by}, "
                f"{data_set.adjacency}; enter the tool's numbers for these."
            )
