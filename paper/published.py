"""What is compared: one published value, and ours beside it."""

import math
from typing import NamedTuple


class Comparison(NamedTuple):
    """A published value and ours.

    Attributes:
      row: number in the project's list of published values.
      source: who published it.
      quantity: what it is.
      published: their value.
      ours: our value; None if it was not computed.
      tolerance: of an exact value, how far ours may be off; None for a trained one, which data and seeds move.
      spread: deviation of ours over seeds, if it was trained with several.
      difference: in words, how our data or model differ from theirs.
      unit: what the values count.
      lowest: what ours is to reach, where the project has set itself a target.
    """

    row: int
    source: str
    quantity: str
    published: float
    ours: float | None
    tolerance: float | None = None
    spread: float | None = None
    difference: str = ""
    unit: str = ""
    lowest: float | None = None

    @property
    def off(self) -> float | None:
        """Ours minus theirs."""
        return None if self.ours is None else self.ours - self.published

    @property
    def exact(self) -> bool:
        """Whether the value is computed, so that ours has no excuse."""
        return self.tolerance is not None

    @property
    def verdict(self) -> str:
        """In a word or two, whether ours agrees.

        >>> Comparison(1, "", "", 1.26, 1.2586, tolerance=0.005).verdict, Comparison(16, "", "", 95.0, None).verdict
        ('agrees', 'not run')
        """
        if self.ours is None or self.off is None:
            return "not run"
        if math.isnan(self.ours):
            return "failed"
        if self.tolerance is not None:
            return "agrees" if abs(self.off) <= self.tolerance else "OFF"
        if self.lowest is not None:
            return "target met" if self.ours >= self.lowest else "target missed"
        if self.difference:
            return "other data"
        return "agrees" if abs(self.off) <= 1.0 else "differs"
