"""Data sets that have a budget, and the runs that spend it, as the tables have them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import sqlalchemy as sa

from dpjax.fingerprints import Fingerprint
from dpjax.governance.errors import LedgerError
from dpjax.governance.retractions import RETRACTED
from dpjax.governance.spends import Spend, read_spend
from dpjax.governance.tables import data_sets, fingerprints, spends
from dpjax.governance.whose import Whose, agreed


class DataSet(NamedTuple):
    """A data set that has a budget.

    Attributes:
      name: in the ledger.
      fingerprint: of its rows.
      unit: what its budget protects: example, user or client.
      adjacency: of its neighbours.
      epsilon, delta: of all that may ever be computed from it.
      composition: planned or adaptive: how its runs are added up.
      order: at which an adaptive one counts; None: that which suits its ε and δ.
      revision: grows with all that is done to it.
      sensitive: whether all that is done with it needs a grant.
      fingerprint_id: of its fingerprint.
    """

    name: str
    fingerprint: Fingerprint
    unit: str
    adjacency: str
    epsilon: float
    delta: float
    composition: str
    revision: int
    sensitive: bool
    fingerprint_id: str
    order: int | None = None

    def budget(self) -> dict[str, Any]:
        """All but its revision, as the trail has it."""
        composed = composition_and_order(self.composition, self.order)
        kept = self._asdict() | {"fingerprint": self.fingerprint_id, "composition": composed}
        left_out = ("name", "revision", "fingerprint_id", "order")
        return {field: value for field, value in kept.items() if field not in left_out}


def composition_and_order(composition: str, order: int | None) -> str:
    """How runs are added up, as the trail has it.

    Args:
      composition: planned or adaptive.
      order: of an adaptive one.

    Example:
      >>> composition_and_order("adaptive", 4), split_composition("adaptive 4"), split_composition("planned")
      ('adaptive 4', ('adaptive', 4), ('planned', None))
    """
    return composition if order is None else f"{composition} {order}"


def split_composition(text: str) -> tuple[str, int | None]:
    """What ``composition_and_order`` has put together.

    Args:
      text: as the trail has it.

    Raises:
      LedgerError: it is none.
    """
    kind, _, order = text.partition(" ")
    if order and not (order.isdecimal() and kind == "adaptive"):
        raise LedgerError(f"composition={text[:40]!r} is none that a ledger writes; restore the ledger from a copy.")
    return kind, int(order) if order else None


class Run(NamedTuple):
    """What somebody spent, or has reserved.

    Attributes:
      id: in the ledger.
      key: what is run; empty: not by dpjax.
      who: runs it.
      tool: that runs it.
      label: in words.
      spend: of the whole run.
      steps: that were taken, or are about to be.
      state: open (all of it counts), closed (the steps do) or retracted (entered by mistake: nothing does).
      process: that runs it.
      created, updated: UTC.
    """

    id: str
    key: str
    who: str
    tool: str
    label: str
    spend: Spend
    steps: int
    state: str
    process: str
    created: str
    updated: str

    @property
    def counted(self) -> int:
        """The steps that it has spent: none once it was taken back."""
        return 0 if self.state == RETRACTED else self.steps

    @property
    def held(self) -> int:
        """The steps that it has spent or may still take."""
        return self.spend.steps if self.state == "open" else self.counted


class Account(NamedTuple):
    """Where a budget stands.

    Attributes:
      data_set: whose.
      runs: all of them, oldest first.
      spent: ε at the budget's δ of what was spent.
      reserved: ε at the same δ with what is reserved.
      retracted: id of a run that was taken back → by whom, when and why.
      endless: why ``reserved`` is inf, and what would help; empty: it is not.
    """

    data_set: DataSet
    runs: tuple[Run, ...]
    spent: float
    reserved: float
    retracted: Mapping[str, str] = MappingProxyType({})
    endless: str = ""

    @property
    def whose(self) -> Whose | None:
        """Who its unit is; None: one row, or nobody has said it yet."""
        return whose_of(self.data_set, self.runs)

    @property
    def spending(self) -> tuple[Run, ...]:
        """The runs but for what only says who the unit is."""
        return tuple(run for run in self.runs if not run.spend.is_note)


def whose_of(data_set: DataSet, runs: Iterable[Run]) -> Whose | None:
    """Who a budget's unit is: whom its first run that counts protects, or what was said before it.

    Args:
      data_set: with its budget.
      runs: of it, oldest first.
    """
    return None if data_set.unit == "example" else agreed(run.spend.whose for run in runs if run.held)


def data_sets_of(connection: sa.Connection) -> list[DataSet]:
    """All that have a budget."""
    joined = data_sets.outerjoin(fingerprints, data_sets.c.fingerprint == fingerprints.c.id)
    chosen = sa.select(data_sets, fingerprints.c.value).select_from(joined)  # in no order, that no index be read for it
    found = []
    for row in sorted(map(dict[str, Any], connection.execute(chosen).mappings()), key=lambda row: str(row["name"])):
        value, id = row.pop("value"), row.pop("fingerprint")
        if value is None:
            raise LedgerError(f"data {row['name']} has lost its fingerprint; restore the ledger from a copy.")
        kind, order = split_composition(row["composition"])
        known = {"fingerprint": Fingerprint.from_json(value), "fingerprint_id": id, "composition": kind, "order": order}
        found.append(DataSet(**{**row, **known, "sensitive": bool(row["sensitive"])}))
    return found


def data_set_of(connection: sa.Connection, name: str) -> DataSet:
    """One that has a budget; LedgerError if it has none."""
    for each in data_sets_of(connection):
        if each.name == name:
            return each
    raise LedgerError(f"data {name} has no budget in this ledger; set one with `dpjax ledger budget {name}`.")


def runs_of(connection: sa.Connection, name: str) -> list[Run]:
    """What a data set was spent on, oldest first; by no index, which might lack entries."""
    whose = spends.c.data_set.concat("")  # no index is of that
    chosen = sa.select(spends).where(whose == name).order_by(spends.c.created, spends.c.id)
    found = []
    for row in connection.execute(chosen).mappings():
        values: dict[str, Any] = {field: row[field] for field in Run._fields} | {"spend": read_spend(row["spend"])}
        found.append(Run(**values))
    return found
