"""What another tool has spent, from the words of ``dpjax ledger enter``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dpjax.governance.spends import Spend


def entered(
    epsilon: float | None,
    delta: float | None,
    noise_multiplier: float | None,
    sampling_rate: float,
    num_steps: int,
    event: Path | None,
) -> Spend:
    """What was spent, by numbers or by an event.

    Args:
      epsilon, delta: that another tool states.
      noise_multiplier, sampling_rate, num_steps: of Gaussian noise on Poisson-sampled batches.
      event: file of an event of dp-accounting as JSON.

    Raises:
      ValueError: it is said twice, or not at all, or can't be.
    """
    from dpjax.governance.events import leaves, stated
    from dpjax.governance.spends import Spend
    from dpjax.ranges import NOISE_MULTIPLIER, NUM_STEPS

    given = [each is not None for each in (epsilon, noise_multiplier, event)]
    if sum(given) != 1:
        raise ValueError("what was spent is said once: by --epsilon and --delta, by --noise-multiplier, or by --event.")
    if event is not None:
        try:
            read = json.loads(event.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"event={event} is no JSON; write it as `dpjax ledger enter --help` says.") from error
        leaves(read)
        return Spend(read, None, 1)
    if epsilon is not None:
        if delta is None:
            raise ValueError("epsilon was given without delta; give --delta too, 0 if it is pure.")
        whole = stated(epsilon, delta)
        leaves(whole)
        return Spend(whole, None, 1, claim=(epsilon, delta))
    assert noise_multiplier is not None
    step = {
        "type": "GaussianDpEvent",
        "noise_multiplier": NOISE_MULTIPLIER.known("noise_multiplier", noise_multiplier),
    }
    if sampling_rate != 1.0:
        step = {"type": "PoissonSampledDpEvent", "sampling_probability": sampling_rate, "event": step}
    leaves(step)
    return Spend(None, step, NUM_STEPS.known("num_steps", num_steps))
