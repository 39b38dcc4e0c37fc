"""A number that is predicted: the range that it is scaled by, and back."""

import json
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Float64

from dpjax.fetching.sources import DatasetError

TARGET_FILE = "target.json"
"""Beside a saved model that says numbers: what brings them into the label's own unit."""


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


def write_target(folder: str | os.PathLike[str], target: Target, *, learnt: bool) -> Path:
    """Writes a target's range beside a model, so that what the model says can be read in the label's own unit.

    Formal guarantees: a range that is ``learnt`` is that of training rows: no ε covers it, and the file says so.

    Args:
      folder: of the model; it is there.
      target: that the model predicts.
      learnt: whether its range was read off the training rows.

    Returns:
      The file's path.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     _ = write_target(folder, Target(0.0, 500.0, "price"), learnt=False)
      ...     read_target(folder)
      Target(low=0.0, high=500.0, name='price')
    """
    path = Path(folder) / TARGET_FILE
    said = {"name": target.name, "low": target.low, "high": target.high, "learnt_from_rows": learnt}
    said["unit"] = "a model says z; low + (z + 1) / 2 * (high - low) is in the label's own unit"
    path.write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def read_target(folder: str | os.PathLike[str]) -> Target:
    """The range of the number that a saved model predicts.

    Formal guarantees: it reads one small file and no rows.

    Args:
      folder: that a run with ``save_model`` wrote.

    Returns:
      The target, whose ``unscaled`` turns what the model says into the label's own unit.

    Raises:
      DatasetError: there is none, as of a model that says classes, or it is damaged.

    Example:
      >>> read_target("/nowhere")
      Traceback (most recent call last):
          ...
      dpjax.fetching.sources.DatasetError: /nowhere has no target.json; it is of models that say numbers
    """
    path = Path(folder) / TARGET_FILE
    try:
        said = json.loads(path.read_bytes())
        return Target(float(said["low"]), float(said["high"]), str(said["name"]))
    except FileNotFoundError as error:
        raise DatasetError(f"{folder} has no {TARGET_FILE}; it is of models that say numbers") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path} is damaged; save the model again") from error
