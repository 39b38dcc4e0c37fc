"""What a run costs a budget, step by step, as a record that any accountant can read again."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from dpjax.accounting import Mechanism, epsilon
from dpjax.accounting.accountants import overflow_charged
from dpjax.accounting.events import event as event_of
from dpjax.checks import brief
from dpjax.governance.errors import LedgerError
from dpjax.governance.events import Leaves, leaves, stated, written
from dpjax.governance.whose import NOTE, Whose, read_whose


class Spend(NamedTuple):
    """What a run costs: something at once, and something with each step.

    Formal guarantees: a run of which ``steps`` steps were taken is the composition of ``once`` and of ``steps`` times
    ``each``, but for an event of probability ``overflow`` at most, and a further ``delta``.

    Attributes:
      once: event as JSON holds it; None: nothing at once. It is spent with the first step.
      each: event of one step; None: all is spent at once.
      steps: of the whole run.
      overflow: the chance that any cohort of the run is cut, or any step aborted.
      delta: of names that were released before the run.
      claim: (ε, δ) that the whole run is known to have; None: nothing is.
      whose: who its unit is; None: one row, or nobody said it.
    """

    once: Mapping[str, Any] | None
    each: Mapping[str, Any] | None
    steps: int
    overflow: float = 0.0
    delta: float = 0.0
    claim: tuple[float, float] | None = None
    whose: Whose | None = None

    def as_json(self) -> str:
        """As the ledger keeps it."""
        kept = self._asdict()
        if self.whose is None:  # as of before there was one
            del kept["whose"]
        return json.dumps(kept, sort_keys=True, separators=(",", ":"))

    @property
    def is_note(self) -> bool:
        """Whether nothing was spent, and all that it says is who the unit is."""
        return self.whose is not None and self.once == NOTE and self.each is None


def note_of(whose: Whose) -> Spend:
    """What says who a budget's unit is, and spends nothing."""
    return Spend(NOTE, None, 1, claim=(0.0, 0.0), whose=whose)


class Total(NamedTuple):
    """What several spends come to, before anybody has composed it.

    Attributes:
      events: how often each happened.
      overflow: sum of the chances that a capacity or an abort showed.
      delta: sum of what else was released.
      claimed_epsilon, claimed_delta: sums of what the runs are known to have themselves; inf if one has nothing known.
    """

    events: Leaves
    overflow: float = 0.0
    delta: float = 0.0
    claimed_epsilon: float = 0.0
    claimed_delta: float = 0.0

    def plus(self, other: Total) -> Total:
        """Both together."""
        events = dict(self.events)
        for event, count in other.events.items():
            events[event] = events.get(event, 0) + count
        return Total(events, *(mine + its for mine, its in zip(self[1:], other[1:], strict=True)))


NOTHING = Total({})


def check_spend(spend: Spend) -> None:
    """Raise LedgerError where a spend has numbers that none can have, as a negative δ.

    Args:
      spend: of whoever wrote it.
    """
    claim = spend.claim or (0.0, 0.0)
    for name, value, most in (
        ("overflow", spend.overflow, 1.0),
        ("delta", spend.delta, 1.0),
        ("claim[0]", claim[0], math.inf),
        ("claim[1]", claim[1], 1.0),
    ):
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
            raise LedgerError(f"spend: {name}={brief(value)} must be a number from 0 to {most:g}.")
    if isinstance(spend.steps, bool) or not isinstance(spend.steps, int) or spend.steps < 1:
        raise LedgerError(f"spend: steps={brief(spend.steps)} must be a whole number above 0.")
    total_of(spend)
    read_spend(spend.as_json())


def sum_of(totals: Iterable[Total]) -> Total:
    """All together."""
    events, rest = dict[str, int](), [0.0] * (len(Total._fields) - 1)
    for each in totals:
        for event, count in each.events.items():
            events[event] = events.get(event, 0) + count
        rest = [mine + its for mine, its in zip(rest, each[1:], strict=True)]
    return Total(events, *rest)


def spend_of(mechanism: Mechanism, delta: float) -> Spend:
    """What a run of a mechanism costs.

    Formal guarantees: those of ``Spend``. Mechanisms whose steps have an event of their own are kept as it; correlated
    noise, which is one mechanism over all steps, is spent as a whole with the first of them. Noise that clients add has
    no such event: it is kept as its (ε, δ), which holds for the whole run, at the δ that is given.

    Args:
      mechanism: of the whole run.
      delta: at which one without an event is stated.

    Raises:
      LedgerError: it has no noise, whose ε is infinite.
      ValueError: nothing accounts for it.

    Example:
      >>> run = Mechanism(unit="example", adjacency="zero_out", sampling="full", sampling_rate=1.0,
      ...                 noise_multiplier=2.0, num_steps=3)
      >>> spend_of(run, 1e-5).steps, total_of(spend_of(run, 1e-5), 2).events
      (3, {'{"noise_multiplier":2.0,"type":"GaussianDpEvent"}': 2})
    """
    known = _claimed(mechanism, delta)
    if known == math.inf:
        raise LedgerError("the run has no finite ε, which is more than any budget; give it noise.")
    claim = (known, delta)
    if mechanism.noise is not None:  # the claim has paid for overflows
        return Spend(stated(*claim), None, mechanism.num_steps, claim=claim)
    released = mechanism.released
    overflow, beside = overflow_charged(mechanism), 0.0 if released is None else released.delta
    if not mechanism.noising.independent:
        return Spend(written(event_of(mechanism)), None, mechanism.num_steps, overflow, beside, claim)
    once = None if released is None else {"type": "GaussianDpEvent", "noise_multiplier": released.noise_multiplier}
    one = written(event_of(replace(mechanism, num_steps=1, released=None)))
    return Spend(once, one, mechanism.num_steps, overflow, beside, claim)


def _claimed(mechanism: Mechanism, delta: float) -> float:
    """The run's own ε: by PLD, or where that can't read the noise of clients by RDP."""
    try:
        return epsilon(mechanism, delta)
    except ValueError:
        return epsilon(mechanism, delta, "rdp")


def total_of(spend: Spend, steps: int | None = None) -> Total:
    """What a run has spent after so many steps.

    Args:
      spend: of the whole run.
      steps: taken; None: all. After none nothing was spent.

    Raises:
      LedgerError: more than the run has, or an event that can't be read.
    """
    steps = spend.steps if steps is None else steps
    if not 0 <= steps <= spend.steps:
        raise LedgerError(f"steps={steps} are none of the {spend.steps} that were reserved.")
    if steps == 0:
        return NOTHING
    events: Leaves = {} if spend.once is None else leaves(spend.once)
    total = Total(events, spend.overflow, spend.delta, *(spend.claim or (math.inf, 0.0)))
    return total if spend.each is None else total.plus(Total(leaves(spend.each, steps)))


def read_spend(text: str) -> Spend:
    """A spend as the ledger keeps it.

    Raises:
      LedgerError: it is none.
    """
    try:
        found = json.loads(text)
        claim = found["claim"] and (float(found["claim"][0]), float(found["claim"][1]))
        numbers = float(found["overflow"]), float(found["delta"])
        whose = read_whose(found.pop("whose", None))
        spend = Spend(found["once"], found["each"], found["steps"], *numbers, claim or None, whose)
        if len(found) != len(Spend._fields) - 1 or not isinstance(spend.steps, int):
            raise ValueError("other fields")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise LedgerError(f"spend={brief(text)} can't be read; see `dpjax ledger verify`.") from error
    return spend
