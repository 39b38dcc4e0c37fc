"""What a budget, or an entry, would come to before it is written down, and which entry it was where no ε holds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from dpjax.governance.accounts import DataSet, Run
from dpjax.governance.decisions import Held, spent_of
from dpjax.governance.filters import order_of
from dpjax.governance.retractions import RETRACTED
from dpjax.governance.spends import Spend

_LOOKED_AT = 8
"""Entries, the latest first, of which it is looked whether one alone is why no ε holds: each takes a sum of its own."""


class Foreseen(NamedTuple):
    """What an entry would come to.

    Attributes:
      before: ε with what is reserved, before it.
      alone: ε of the entry by itself, inf if none holds.
      after: ε of both.
      why: why ``after`` is inf; empty: it is not.
    """

    before: float
    alone: float
    after: float
    why: str


def would_come_to(data_set: DataSet, runs: Sequence[Run], spend: Spend) -> Foreseen:
    """What an entry would take a budget to.

    Args:
      data_set: with its budget.
      runs: that it has.
      spend: to be entered.
    """
    more = spent_of([(spend, spend.steps)])
    held = Held(data_set, spent_of([(each.spend, each.held) for each in runs]))
    after = held.epsilon(more, anew=True)
    why = held.why_endless(more) if after == math.inf else ""
    return Foreseen(held.epsilon(), Held(data_set, more).epsilon(), after, why)


def under(
    data_set: DataSet, runs: Sequence[Run], *, epsilon: float, delta: float, composition: str | None = None
) -> float:
    """ε of all that is spent and reserved, as another budget would count it.

    Args:
      data_set: with the budget that it has.
      runs: that it has.
      epsilon, delta: of the other budget.
      composition: of it; None: as it is.
    """
    changed = data_set._replace(epsilon=epsilon, delta=delta, composition=composition or data_set.composition)
    if changed.composition == "adaptive" and not (runs and data_set.composition == "adaptive"):
        changed = changed._replace(order=order_of(epsilon, delta))
    return Held(changed, spent_of([(each.spend, each.held) for each in runs])).epsilon()


def without_one(data_set: DataSet, runs: Sequence[Run]) -> str:
    """Which entry of another tool is why no ε holds, in words that go on with a reason; empty: no single one is.

    Args:
      data_set: with its budget.
      runs: that it has, of which no ε holds.
    """
    entered = [each for each in reversed(runs) if not each.key and each.state != RETRACTED]
    for one in entered[:_LOOKED_AT]:
        rest = spent_of([(each.spend, each.held) for each in runs if each.id != one.id])
        if (left := Held(data_set, rest).epsilon()) < math.inf:
            called = f" ({one.label})" if one.label else ""
            return (
                f"; without entry {one.id[:8]} of {one.tool}{called} it would be ε={left:.3g}: if that is a mistake, "
                f"take it back with `dpjax ledger retract {data_set.name} {one.id[:8]}`"
            )
    return ""
