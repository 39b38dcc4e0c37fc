"""What always saying the commonest class would score, where that is much: the line that an accuracy is read against."""

from typing import Any

from dpjax.results.claims import number
from dpjax.results.wording import label

UNBALANCED = 0.7
"""Share of the commonest class from which on an accuracy says little by itself."""
_READ_AGAINST = "test_accuracy"


def majorities(points: Any, metric: str) -> list[float]:
    """Accuracies on the test rows of always saying the commonest class, where they are high.

    Args:
      points: a table with a column ``test_majority``, or its rows.
      metric: the column that is read; of another than test accuracy there are none.

    Returns:
      Those of ``UNBALANCED`` and more, ascending.

    Example:
      >>> import pandas as pd
      >>> majorities(pd.DataFrame({"test_majority": [0.88, 0.5, None]}), "test_accuracy")
      [0.88]
    """
    if metric != _READ_AGAINST:
        return []
    rows = points if isinstance(points, list) else points.to_dict("records")
    shares = {number(row, "test_majority") for row in rows}
    return sorted(share for share in shares if share is not None and share >= UNBALANCED)


def majority_sentence(points: Any, metric: str) -> str:
    """What a caption says of it; empty where there is nothing to say.

    Args:
      points: a table with a column ``test_majority``, or its rows.
      metric: the column that is read.

    Example:
      >>> import pandas as pd
      >>> majority_sentence(pd.DataFrame({"test_majority": [0.88]}), "test_accuracy")
      'always saying the commonest class: test accuracy 0.880; see test AUROC'
    """
    found = majorities(points, metric)
    shares = " to ".join(f"{share:.3f}" for share in dict.fromkeys([found[0], found[-1]])) if found else ""
    said = f"always saying the commonest class: {label(metric)} {shares}"
    return f"{said}; see {label('test_auroc')}" if found else ""
