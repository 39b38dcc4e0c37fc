"""Which metric a table of results is read by where nobody says: the one place that decides it."""

from typing import Any

from dpjax.results.schema import METRICS

USUAL = "test_accuracy"


def metric_of(frame: Any) -> str:
    """The first metric of the schema that some row has: ``test_accuracy``, and ``test_r2`` where a number is predicted.

    Formal guarantees: where some row has ``test_accuracy`` it is that, whatever the other rows are. Where no row has
    any metric it is ``test_accuracy``, and ``test_loss`` where all runs diverged.

    Args:
      frame: what ``collect`` or ``load`` gave.

    Example:
      >>> from dpjax.results.table import frame_of
      >>> metric_of(frame_of([{"test_accuracy": 0.9, "test_loss": 0.1}])), metric_of(frame_of([{"test_r2": 0.4}]))
      ('test_accuracy', 'test_r2')
    """
    found = next((name for name in METRICS if name in frame.columns and bool(frame[name].notna().any())), None)
    return found or ("test_loss" if all_diverged(frame) else USUAL)


def all_diverged(frame: Any) -> bool:
    """Whether there are runs, and none of them ended in finite numbers.

    Args:
      frame: what ``collect`` or ``load`` gave.
    """
    return "diverged" in frame.columns and len(frame) > 0 and bool(frame["diverged"].fillna(False).all())
