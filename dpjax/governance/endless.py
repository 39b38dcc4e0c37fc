"""Why no ε holds for what was spent, and what would help."""

from __future__ import annotations

import json
import math

from dpjax.governance.accounts import DataSet
from dpjax.governance.events import STATED, is_bare
from dpjax.governance.filters import ASIDE
from dpjax.governance.spends import Total


def why_endless(total: Total, data_set: DataSet) -> str:
    """Why ε is inf, in words that go on with a sentence which said that it is.

    Args:
      total: of which no ε holds at the budget's δ.
      data_set: with its budget.
    """
    adaptive = data_set.composition == "adaptive"
    room = data_set.delta * ASIDE if adaptive else data_set.delta
    of = f"the tenth of δ={data_set.delta:g} that is kept for it" if adaptive else f"δ={data_set.delta:g}"
    counts = [(json.loads(leaf), count) for leaf, count in total.events.items() if count]
    if any(is_bare(fields) for fields, _ in counts):
        return "as something has no noise; if it was entered by mistake, take it back with `dpjax ledger retract`"
    stated = math.fsum(count * fields["delta"] for fields, count in counts if fields["type"] == STATED)
    taken = {"what was stated as (ε, δ)": stated, "what was released by name": total.delta}
    if stated + total.delta >= room * (1 - 1e-9):
        said = " and ".join(f"{what} takes {delta:.3g}" for what, delta in taken.items() if delta)
        return (
            f"as {said} of {of}; enter what other tools spent by its events, or stated at a smaller δ, or have the "
            "budget's δ raised"
        )
    if total.overflow:
        left = room - stated - total.delta
        past = math.log(left / total.overflow) if left > total.overflow else 0.0
        return (
            f"as for cohorts that may overflow their slots, with chance β={total.overflow:.2g} in all runs, β (1 + exp "
            f"ε) is charged, which is more than {of} once {'the budget has' if adaptive else 'they come to'} ε above "
            f"{past:.3g}; a budget of a smaller ε refuses runs before that, and full batches never overflow"
        )
    return f"as its events have more δ of their own than {of}; have the budget's δ raised"
