"""A number that is predicted: the range that it is scaled by, and back."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Float64


class Target(NamedTuple):
    """The range of a predicted number, in the label's own unit: its ends are -1 and 1 to a model.

    Attributes:
      low: what becomes -1.
      high: what becomes 1.
      name: of the label.
    """

    low: float
    high: float
    name: str = ""

    def clipped(self, labels: Float[np.ndarray, "rows"]) -> Float64[np.ndarray, "rows"]:
        """Labels that lie beyond the range, cut off at its end.

        Args:
          labels: ``[rows]`` in their own unit.
        """
        return np.clip(labels.astype(np.float64), self.low, self.high)

    def scaled(self, labels: Float[np.ndarray, "rows"]) -> Float32[np.ndarray, "rows"]:
        """Labels as a model learns them. Row-wise: each depends on itself and the range alone.

        Args:
          labels: ``[rows]`` in their own unit.

        Returns:
          ``[rows]`` without a unit, in [-1, 1] for labels in the range; what lies beyond is not cut off.

        Example:
          >>> Target(0.0, 500.0).scaled(np.array([0.0, 375.0, 750.0])).tolist()
          [-1.0, 0.5, 2.0]
        """
        return (2 * (labels.astype(np.float64) - self.low) / (self.high - self.low) - 1).astype(np.float32)

    def unscaled(self, values: Float[np.ndarray, "rows"]) -> Float64[np.ndarray, "rows"]:
        """What a model says, in the label's own unit.

        Args:
          values: ``[rows]`` as ``scaled`` gives them.

        Example:
          >>> Target(0.0, 500.0).unscaled(np.array([-1.0, 0.5, 2.0], np.float32)).tolist()
          [0.0, 375.0, 750.0]
        """
        return self.low + (values.astype(np.float64) + 1) / 2 * (self.high - self.low)
