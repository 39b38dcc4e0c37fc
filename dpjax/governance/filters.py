"""A bound on all that was spent that holds too where runs are chosen by what the ones before gave out."""

from __future__ import annotations

import json
import math
from functools import lru_cache
from typing import Any

from dpjax.accounting.accountants import rdp_to_epsilon
from dpjax.accounting.mixture import folded_chances, log_moments
from dpjax.governance.errors import LedgerError
from dpjax.governance.events import STATED, is_bare
from dpjax.governance.spends import Total

ASIDE = 0.1
"""The share of δ that pays for overflows and for stated δ: fixed, as nothing may be chosen by what was spent."""

_ORDERS = range(2, 257)


@lru_cache(maxsize=256)
def order_of(epsilon: float, delta: float) -> int:
    """The Rényi order at which a budget is kept: that at which the most of plain Gaussian noise fits into it.

    Args:
      epsilon, delta: of the budget.

    Raises:
      LedgerError: at no order anything fits.

    Example:
      >>> order_of(8.0, 1e-5), order_of(1.0, 1e-5)
      (4, 18)
    """
    fits = {order: (epsilon - rdp_to_epsilon(0.0, order, delta * (1 - ASIDE))) / order for order in _ORDERS}
    best = max(fits, key=lambda order: fits[order])
    if fits[best] <= 0:
        raise LedgerError(
            f"epsilon={epsilon:g} at delta={delta:g} is less than composition=adaptive can state; give more, or take "
            "composition=planned."
        )
    return best


def check_order(order: int, epsilon: float, delta: float) -> None:
    """Raise LedgerError unless a budget can be kept at an order that was fixed for another one.

    Args:
      order: that was fixed.
      epsilon, delta: of the budget.

    Example:
      >>> check_order(4, 8.0, 1e-5)
      >>> check_order(4, 1.0, 1e-5)
      Traceback (most recent call last):
      dpjax.governance.errors.LedgerError: epsilon=1 at delta=1e-05 is less than order 4 can state, at which this \
budget counts since its first run; give more than 3.12, or have composition=planned.
    """
    least = rdp_to_epsilon(0.0, order, delta * (1 - ASIDE))
    if epsilon <= least:
        raise LedgerError(
            f"epsilon={epsilon:g} at delta={delta:g} is less than order {order} can state, at which this budget counts "
            f"since its first run; give more than {least:.3g}, or have composition=planned."
        )


def adaptive_epsilon(total: Total, adjacency: str, *, epsilon: float, delta: float, order: int | None = None) -> float:
    """ε of all that was spent at δ, by a Rényi filter of the budget's order.

    Formal guarantees: as long as this is at most ``epsilon`` before each run, all runs together are (ε, δ)-DP whatever
    each was chosen by, its noise, its length and whether there is one included: divergences of one order, fixed before
    the first of them, add up then too, by Feldman and Zrnic's theorem for filters of one order. The order stays when
    the budget changes, so that the runs of before and after a raise are those of one filter with the larger bound: what
    holds is the ε of the largest budget, which is to be one that no result would have taken further. Overflows, and the
    δ of what is stated, are paid from a share of δ that is fixed as well.

    Args:
      total: what was spent, and what is to be.
      adjacency: of the budget's neighbours.
      epsilon, delta: of the budget.
      order: that was fixed with its first run; None: that which suits ε and δ.

    Returns:
      ε ≥ 0; inf where the share of δ is used up.

    Raises:
      LedgerError: an event whose divergence nobody knows.

    Example:
      >>> run = {'{"noise_multiplier":4.0,"type":"GaussianDpEvent"}': 3}
      >>> round(adaptive_epsilon(Total(run), "zero_out", epsilon=2.0, delta=1e-5), 3)
      1.867

    References:
      Feldman and Zrnic 2021, https://arxiv.org/abs/2008.11193.
    """
    order = order or order_of(epsilon, delta)
    aside = total.delta + total.overflow * (1 + math.exp(min(epsilon, 700.0)))
    divergence = 0.0
    for leaf, count in total.events.items():
        if not count:
            continue
        fields = json.loads(leaf)
        if fields["type"] == STATED:  # but for its δ, it is as an event of its ε alone
            aside += count * fields["delta"]
            divergence += count * min(fields["epsilon"], order * fields["epsilon"] ** 2 / 2)
        else:
            divergence += count * _divergence(leaf, adjacency, order)
    if aside > ASIDE * delta or divergence == math.inf:
        return math.inf
    if divergence == 0:
        return 0.0
    return max(rdp_to_epsilon(divergence, order, delta * (1 - ASIDE)), 0.0)


@lru_cache(maxsize=65536)
def _divergence(leaf: str, adjacency: str, order: int) -> float:
    """Rényi divergence of one event."""
    from dp_accounting import NeighboringRelation
    from dp_accounting.rdp import RdpAccountant

    fields = json.loads(leaf)
    kind = fields.pop("type")
    if is_bare(json.loads(leaf)):
        return math.inf
    if kind == "NoOpDpEvent":
        return 0.0
    relation = {
        "zero_out": NeighboringRelation.ADD_OR_REMOVE_ONE,
        "add_or_remove_one": NeighboringRelation.ADD_OR_REMOVE_ONE,
        "replace_one": NeighboringRelation.REPLACE_ONE,
    }[adjacency]
    if adjacency == "replace_one" and kind == "GaussianDpEvent":
        fields["noise_multiplier"] /= 2  # of the clip norm here, of the sensitivity there
    if (
        kind == "MixtureOfGaussiansDpEvent"
        and adjacency != "replace_one"
        and (drawn := _records_of(fields)) is not None
    ):
        return max(log_moments(*drawn, fields["standard_deviation"], order)) / (order - 1)
    event = _event(kind, fields)

    class Accountant(RdpAccountant):
        def divergence(self) -> float:
            return float(self._rdp[0])

    accountant = Accountant([float(order)], relation)
    if (adjacency == "replace_one" and kind != "GaussianDpEvent") or not accountant.supports(event):
        raise LedgerError(
            f"event {kind} with neighbours {adjacency} has no divergence that is known here; enter its epsilon and "
            "delta instead, or take composition=planned."
        )
    return accountant.compose(event).divergence()


def _records_of(fields: dict[str, Any]) -> tuple[int, float] | None:
    """How many records of a unit are drawn at which rate, if that is what the event is: users with several records."""
    shifts, chances = fields["sensitivities"], fields["sampling_probs"]
    records, none_drawn = max(shifts), chances[0]
    if fields["standard_deviation"] == 0 or shifts[0] != 0 or records != int(records) or not 0 < none_drawn < 1:
        return None
    rate = -math.expm1(math.log(none_drawn) / records) * (1 + 1e-12)
    counts, log_chances = folded_chances(int(records), rate)
    same = len(counts) == len(shifts) and all(
        a == b and math.isclose(math.exp(p), q, rel_tol=1e-6, abs_tol=1e-15)
        for a, p, b, q in zip(counts, log_chances, shifts, chances, strict=True)
    )
    return (int(records), rate) if same else None


def _event(kind: str, fields: dict[str, Any]) -> Any:
    from dp_accounting import dp_event  # the package itself lacks some of its events

    if "event" in fields:
        inner = dict(fields["event"])
        fields = fields | {"event": _event(inner.pop("type"), inner)}
    return getattr(dp_event, kind)(**fields)
