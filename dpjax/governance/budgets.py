"""Budgets of data sets: which may be set at once, and which a second person has to approve."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from dpjax.accounting.mechanism import ADJACENCIES, UNITS
from dpjax.checks import brief, one_of
from dpjax.fingerprints import Fingerprint
from dpjax.governance.accounts import DataSet, Run, composition_and_order, split_composition
from dpjax.governance.decisions import COMPOSITIONS
from dpjax.governance.errors import LedgerError
from dpjax.governance.filters import check_order, order_of
from dpjax.governance.known_rows import KnownRows
from dpjax.governance.retractions import is_retraction
from dpjax.governance.tables import proposals
from dpjax.ranges import DELTA, EPSILON


class Proposal(NamedTuple):
    """A budget, a policy or a retraction that waits for a second person.

    Attributes:
      number: of the record that made it.
      who: made it.
      key: id of the key that signed it.
      data_set: name of the data set; empty: it is a policy.
      before: its budget, the policy, or the entry's state, when it was made.
      budget: what it would be; of a retraction, its record.
    """

    number: int
    who: str
    key: str
    data_set: str
    before: Mapping[str, Any]
    budget: Mapping[str, Any]


def checked_budget(
    name: str,
    known: Mapping[str, DataSet],
    runs: Sequence[Run],
    rows: KnownRows,
    *,
    fingerprint: Fingerprint,
    unit: str,
    adjacency: str,
    epsilon: float,
    delta: float,
    composition: str,
    sensitive: bool,
) -> dict[str, Any]:
    """A budget as the trail has it.

    Args:
      name: of the data set.
      known: all that have a budget.
      runs: of this one.
      rows: all that each name has ever had.
      fingerprint, unit, adjacency, epsilon, delta, composition, sensitive: see ``Ledger.set_budget``.

    Raises:
      LedgerError: an argument is out of range, the rows are another data set's, or are not those of this name.
    """
    epsilon, delta = EPSILON.known("epsilon", epsilon), DELTA.known("delta", delta)
    if epsilon == float("inf"):
        raise LedgerError("epsilon=inf is no budget; give a finite one.")
    if unit not in UNITS:
        raise LedgerError(
            f"unit={brief(unit)} is no kind of unit; it says what a unit is, and not which column names it: there are "
            f"{', '.join(UNITS)}."
        )
    one_of("adjacency", adjacency, ADJACENCIES)
    one_of("composition", composition, COMPOSITIONS)
    if not name or len(name) > 255 or name == "*":
        raise LedgerError(f"name={name[:40]!r} must have 1 to 255 letters, and * is all data.")
    shares = {other: rows.share(other, fingerprint) for other in sorted(rows.tables) if other != name}
    other = max(shares, key=shares.__getitem__, default="")
    if shares.get(other, 0.0) > 0:
        raise LedgerError(
            f"data {name} has rows of {other}, which has a budget already; the two would be spent twice: give {other} "
            "the larger budget instead."
        )
    if (old := known.get(name)) is not None:
        if not rows.may_be_of(name, fingerprint):
            raise LedgerError(f"data {name} is the name of other rows in this ledger; give these another.")
        if runs and (old.unit, old.adjacency) != (unit, adjacency):
            raise LedgerError(
                f"data {name} has runs for {old.unit} and {old.adjacency}, which can't be added up for {unit} and "
                f"{adjacency}; keep them."
            )
    order = None
    if composition == "adaptive":
        old = known.get(name)
        if old is not None and old.composition == "adaptive" and runs:  # results were seen, nothing is chosen anew
            order = old.order or order_of(old.epsilon, old.delta)
            check_order(order, epsilon, delta)
        else:
            order = order_of(epsilon, delta)
    return {
        "fingerprint": hashlib.sha256(fingerprint.as_json().encode()).hexdigest(),
        "unit": unit,
        "adjacency": adjacency,
        "epsilon": epsilon,
        "delta": delta,
        "composition": composition_and_order(composition, order),
        "sensitive": sensitive,
    }


def weakens(old: DataSet, budget: Mapping[str, Any]) -> bool:
    """Whether a budget protects sensitive data less than the one before, or otherwise: other rows, added up otherwise.

    Args:
      old: with its budget.
      budget: of ``checked_budget``.
    """
    if not old.sensitive:
        return False
    before = old.budget()
    same = all(before[field] == budget[field] for field in ("fingerprint", "unit", "adjacency", "sensitive"))
    adds_up = split_composition(budget["composition"])[0] == old.composition
    return not (same and adds_up and budget["epsilon"] <= old.epsilon and budget["delta"] <= old.delta)


def proposals_of(connection: sa.Connection) -> list[Proposal]:
    """What waits for a second person, oldest first."""
    chosen = sa.select(proposals).where(proposals.c.state == "open").order_by(proposals.c.id)
    found = []
    for row in connection.execute(chosen).mappings():
        both = json.loads(row["budget"])
        found.append(Proposal(row["id"], row["who"], row["key"], row["data_set"], both["from"], both["to"]))
    return found


def action_of(proposal: Proposal) -> str:
    """The action that a proposal comes to once it is approved.

    Args:
      proposal: that waits.
    """
    if not proposal.data_set:
        return "policy"
    return "retract" if is_retraction(proposal.budget) else "budget"


def open_proposal(connection: sa.Connection, number: int) -> Proposal:
    """One that waits; LedgerError if there is none of this number."""
    for each in proposals_of(connection):
        if each.number == number:
            return each
    raise LedgerError(f"proposal {number} is not open; see `dpjax ledger show`.")
