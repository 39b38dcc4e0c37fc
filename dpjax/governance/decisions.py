"""Whether runs may be reserved: what they come to with all before them, and what would fit in their place."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from dpjax.governance.accounts import DataSet, Run
from dpjax.governance.composition import compose, epsilon_of, is_too_fine, plus
from dpjax.governance.endless import why_endless
from dpjax.governance.errors import LedgerError
from dpjax.governance.filters import adaptive_epsilon
from dpjax.governance.spends import NOTHING, Spend, Total, sum_of, total_of
from dpjax.governance.whose import agreed, check_whose
from dpjax.keeping import runs_here, this_process


class Request(NamedTuple):
    """A run that is to be reserved.

    Attributes:
      key: the same for the same run on the same machine, which gives out the same; up to 128 letters.
      spend: of the whole run, with who its unit is.
      unit, adjacency: of its mechanism.
      label: in words.
    """

    key: str
    spend: Spend
    unit: str
    adjacency: str
    label: str


COMPOSITIONS = ("planned", "adaptive")
"""How runs are added up: by privacy losses, for runs that no result of others has chosen; or by a Rényi filter."""


class Held:
    """What a budget has spent, ready to be asked what more would come to.

    Args:
      data_set: with its budget.
      total: what was spent of it.
    """

    def __init__(self, data_set: DataSet, total: Total) -> None:
        self._data_set, self._total = data_set, total
        self._composed = compose(total, data_set.adjacency) if data_set.composition == "planned" else None

    def why_endless(self, more: Total) -> str:
        """Why ε of what was spent and of something more is inf, in words.

        Args:
          more: to come.
        """
        return why_endless(self._total.plus(more), self._data_set)

    def epsilon(self, more: Total = NOTHING, *, anew: bool = False) -> float:
        """ε at the budget's δ of what was spent and of something more.

        Args:
          more: to come.
          anew: whether all is composed for this sum, which takes longer and is tighter.
        """
        budget = self._data_set
        if self._composed is None:
            both = self._total.plus(more)
            return adaptive_epsilon(
                both, budget.adjacency, epsilon=budget.epsilon, delta=budget.delta, order=budget.order
            )
        if anew or (more is not NOTHING and is_too_fine(self._composed, more)):
            return epsilon_of(compose(self._total.plus(more), budget.adjacency), budget.delta)
        return epsilon_of(self._composed if more is NOTHING else plus(self._composed, more), budget.delta)


class Decision(NamedTuple):
    """What becomes of requests.

    Attributes:
      ids: of runs that go on, in the order of the requests; empty for those that are new.
      continued: ids of runs that go on.
      fresh: requests that are new.
      ended: ids of runs whose process is gone.
      refused: why none of them may run; empty: they may.
    """

    ids: tuple[str, ...]
    continued: tuple[str, ...]
    fresh: tuple[Request, ...]
    ended: tuple[str, ...]
    refused: str = ""


def spent_of(runs: Iterable[tuple[Spend, int]]) -> Total:
    """The sum of what runs have spent after so many steps each."""
    return sum_of(total_of(spend, steps) for spend, steps in runs)


def decide(data_set: DataSet, runs: Sequence[Run], requests: Sequence[Request]) -> Decision:
    """Whether runs fit into what is left of a budget.

    Formal guarantees: if they are not refused, then all that was spent, all that is reserved and the requests are
    within the budget, as its composition adds them up, and each is for the same units.

    Args:
      data_set: with its budget.
      runs: that it has already.
      requests: to come.

    Raises:
      LedgerError: another unit or adjacency than the budget's, other units than those of before, no key, or a run
        that another process runs now.
    """
    for request in requests:
        if not request.key:
            raise LedgerError(f"run {request.label} has no key, as what other tools spent; give it one.")
        if (request.unit, request.adjacency) != (data_set.unit, data_set.adjacency):
            raise LedgerError(
                f"data {data_set.name} has a budget for unit={data_set.unit} and adjacency={data_set.adjacency}, and "
                f"this run is for {request.unit} and {request.adjacency}; {_change(data_set, request)}."
            )
    me = this_process()
    gone = {run.id for run in runs if run.state == "open" and run.process != me and runs_here(run.process) is False}
    counting = (run.spend.whose for run in runs if (run.counted if run.id in gone else run.held))
    check_whose(data_set, agreed(counting), [request.spend.whose for request in requests])
    known: dict[str, Run] = {}
    for run in runs:
        if run.key and (run.state == "open" or run.steps < run.spend.steps):
            known[run.key] = run
    ids = []
    for request in requests:
        again = known.pop(request.key, None)
        if again is not None and again.state == "open" and again.process != me and again.id not in gone:
            raise LedgerError(being_run(again))
        ids.append(again.id if again is not None and again.spend == request.spend else "")
    continued = tuple(id for id in ids if id)
    fresh = tuple(request for request, id in zip(requests, ids, strict=True) if not id)
    whole = {*continued, *(run.id for run in runs if run.state == "open" and run.id not in gone)}
    before = [
        (run.spend, run.spend.steps if run.id in whole else run.counted) for run in runs if run.id not in continued
    ]
    held = Held(data_set, spent_of(before))
    mine = [total_of(request.spend) for request in requests]
    after = held.epsilon(sum_of(mine))
    ended = tuple(sorted(gone - set(continued)))
    if after <= data_set.epsilon:
        return Decision(tuple(ids), continued, fresh, ended)
    exact = held.epsilon(sum_of(mine), anew=True)
    if exact <= data_set.epsilon:  # the interval was chosen for what was spent before, and is coarse for the sum
        return Decision(tuple(ids), continued, fresh, ended)
    spent = held.epsilon()
    return Decision((), (), (), ended, _refusal(data_set, held, spent, requests, mine, min(after, exact)))


def being_run(run: Run) -> str:
    """Why a run can't be taken over, in a sentence."""
    return (
        f"run {run.label} is being run by {run.who} in process {run.process}; wait for it, or close it with "
        f"`dpjax ledger close NAME {run.id[:8]}` if it is no more."
    )


def _change(data_set: DataSet, request: Request) -> str:
    if request.unit == data_set.unit:
        return f"run it with privacy.adjacency={data_set.adjacency}"
    return f"run it for {data_set.unit}s, or have a budget set for {request.unit}s"


def _refusal(
    data_set: DataSet, held: Held, spent: float, requests: Sequence[Request], mine: Sequence[Total], after: float
) -> str:
    def fits(total: Total) -> bool:
        return held.epsilon(total) <= data_set.epsilon

    what = "this run" if len(requests) == 1 else f"these {len(requests)} runs"
    start = (
        f"data {data_set.name} has spent ε={spent:.3g} of {data_set.epsilon:g} at δ={data_set.delta:g}, and {what} "
        f"would make it {after:.3g}"
    )
    if after == math.inf:
        start += f", {held.why_endless(sum_of(mine))}"
    if spent >= data_set.epsilon:
        return f"{start}; nothing of it would fit."
    if len(requests) > 1:
        number = _most(len(requests), lambda count: fits(sum_of(mine[:count])))
        return f"{start}; {f'the first {number} would fit' if number else 'not one of them would fit'}."
    spend = requests[0].spend
    options = []
    if (epsilon := _fitting_epsilon(data_set, held, spend)) > 0:
        options.append(f"ε={epsilon:.3g} would fit")
    if spend.each is not None and (steps := _most(spend.steps, lambda count: fits(total_of(spend, count)))):
        options.append(f"{steps:,} of its {spend.steps:,} steps{'' if options else ' would fit'}")
    return f"{start}; {', or '.join(options) or 'nothing of it would fit'}."


def _most(number: int, fits: Callable[[int], bool]) -> int:
    """The largest count that fits, of 0 to ``number``."""
    low, high = 0, number
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def _fitting_epsilon(data_set: DataSet, held: Held, spend: Spend) -> float:
    """ε at the budget's δ of the same run with as much more noise as makes it fit, rounded down; 0 if none does."""

    def noisier(factor: float) -> Total:
        scaled = Spend(_scaled(spend.once, factor), _scaled(spend.each, factor), spend.steps)
        return total_of(scaled)._replace(claimed_epsilon=math.inf)

    def fits(factor: float) -> bool:
        return held.epsilon(noisier(factor)) <= data_set.epsilon

    low, high = 1.0, 100.0
    if not fits(high):
        return 0.0
    while high > low * 1.003:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if fits(middle) else (middle, high)
    found = epsilon_of(compose(noisier(high), data_set.adjacency), data_set.delta)
    if found < 1e-3:  # nobody asks for so little
        return 0.0
    place = 10 ** (math.floor(math.log10(found)) - 2)
    return math.floor(found / place) * place


def _scaled(event: Mapping[str, Any] | None, factor: float) -> Mapping[str, Any] | None:
    """An event whose noise is so many times larger."""
    if event is None:
        return None
    scaled = json.loads(json.dumps(event))
    for field in ("noise_multiplier", "standard_deviation", "noise_parameter"):
        if field in scaled:
            scaled[field] *= factor
    if "epsilon" in scaled:
        scaled["epsilon"] /= factor
    for field in ("event", "events"):
        if field in scaled:
            inner = scaled[field]
            scaled[field] = [_scaled(each, factor) for each in inner] if field == "events" else _scaled(inner, factor)
    return scaled
