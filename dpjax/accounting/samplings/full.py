"""Everyone, in each step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from dpjax.accounting.pairs import Pair, gaussian_pair
from dpjax.accounting.samplings.sampling import Sampling

if TYPE_CHECKING:
    import dp_accounting


@dataclass(frozen=True)
class Full(Sampling):
    """Everyone takes part in each step: a plain Gaussian mechanism.

    Formal guarantees: nothing is drawn, so that nothing need stay secret. A unit of at most k records, each clipped
    alone, moves a sum by at most k clip norms.

    Args:
      sampling_rate: 1.
      population: number of units, for the claim only.

    Raises:
      ValueError: another rate.

    Example:
      >>> print(Full(population=3).describe("client"))
      full participation of 3 clients
    """

    sampling_rate: float = 1.0

    name: ClassVar[str] = "full"
    word: ClassVar[str] = "full"
    manner: ClassVar[str] = "full participation"
    is_drawn: ClassVar[bool] = False
    aborts_tell: ClassVar[bool] = False
    joining_moves_others: ClassVar[bool] = False
    draws_records: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sampling_rate != 1:
            raise ValueError(f"sampling_rate={self.sampling_rate!r} with sampling='full'; set it to 1.")

    def pair(self, noise_multiplier: float, adjacency: str, times: int, records: int = 1) -> Pair:
        return gaussian_pair(noise_multiplier / records, adjacency, times)

    def event(self, noise_multiplier: float, adjacency: str, records: int = 1) -> dp_accounting.DpEvent:
        return super().event(noise_multiplier / records, adjacency)

    def central_limit(self, noise_multiplier: float, num_steps: int) -> float | None:
        return math.sqrt(num_steps) / noise_multiplier

    def describe(self, drawn: str) -> str:
        return f"{self.manner}{self._of(drawn)}"
