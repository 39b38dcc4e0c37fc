"""Every number of the paper's text, as LaTeX macros; the text itself holds none."""

import math
from collections.abc import Sequence
from typing import Any

from paper.published import Comparison


def macros(profile: str, about: str, frame: Any, comparisons: Sequence[Comparison], board: Any) -> dict[str, str]:
    """Name → text.

    Args:
      profile, about: what was run.
      frame: of ``gather``.
      comparisons: of accounting and training.
      board: of the leaderboard; may be empty.
    """
    exact = [row for row in comparisons if row.exact]
    trained = [row for row in comparisons if not row.exact]
    private = board[board["epsilon"] < math.inf] if len(board) else board
    values = {
        "ProfileName": profile,
        "ProfileAbout": about,
        "NumRuns": f"{len(frame):,}",
        "NumStudies": str(frame["experiment"].nunique()),
        "NumExact": str(len(exact)),
        "NumExactAgreeing": str(sum(row.verdict == "agrees" for row in exact)),
        "NumTrained": str(len(trained)),
        "NumTrainedRun": str(sum(row.ours is not None for row in trained)),
        "NumTasks": str(board["task"].nunique() if len(board) else 0),
        "NumMethods": str(private["method"].nunique() if len(board) else 0),
        "NumReported": str(int(board["seeds"].sum()) if len(board) else 0),
        "NumOverflows": str(int(frame["overflow_count"].fillna(0).sum())),
    }
    values["Recipes"] = _recipes(trained)
    values["Board"] = (
        f"A leaderboard compares {values['NumMethods']} private methods on {values['NumTasks']} tasks under one "
        "protocol that gives each the same tuning budget."
        if len(board)
        else "No leaderboard was run."
    )
    return values


def _recipes(trained: Sequence[Comparison]) -> str:
    """What the published recipes come to; of those that were not run, no more than that."""
    named = (("a linear model on scattering coefficients", "ScatterNet + linear, Fashion"), ("a CNN", "CNN, Fashion"))
    rows = [(model, _trained(trained, start)) for model, start in named]
    runs = [
        f"{model} reaches {row.ours:.1f}\\,\\% (published: {row.published:.1f}\\,\\%)"
        for model, row in rows
        if row is not None and row.ours is not None
    ]
    if not runs:
        return "Published recipes of training were not run in this profile."
    return f"On Fashion-MNIST at $\\varepsilon \\le 3$ {' and '.join(runs)}."


def to_latex(found: dict[str, str]) -> str:
    """The macros' definitions.

    >>> to_latex({"NumRuns": "12"})
    '\\\\newcommand{\\\\NumRuns}{12}\\n'
    """
    return "".join(f"\\newcommand{{\\{name}}}{{{text}}}\n" for name, text in found.items())


def _trained(rows: Sequence[Comparison], start: str) -> Comparison | None:
    return next((row for row in rows if row.row == 17 and row.quantity.startswith(start)), None)
