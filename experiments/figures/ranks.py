"""Methods of a leaderboard by their ranks over tasks and ε."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from dpjax.results import ResultsError
from experiments.figures import style


def leaderboard_ranks(board: Any, titles: Mapping[str, str]) -> Figure:
    """Mean rank of each method, a panel per setting, with a faint dot for every task and ε.

    Args:
      board: with the columns setting, method, epsilon and rank, as ``experiments.leaderboard.board`` makes it.
      titles: method → what it is called.

    Raises:
      ResultsError: there are no private methods in it.

    >>> import pandas as pd
    >>> rows = [{"setting": "records", "method": m, "epsilon": 1.0, "rank": r} for r, m in enumerate("ab", start=1)]
    >>> figure = leaderboard_ranks(pd.DataFrame(rows), {"a": "A", "b": "B"})
    >>> [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    ['A', 'B']
    """
    private = board[board["epsilon"] < float("inf")]
    settings = list(dict.fromkeys(private["setting"]))
    if not settings:
        raise ResultsError(
            "the leaderboard has no private method: run one with `python -m experiments.leaderboard run`"
        )
    most = max(private[private["setting"] == setting]["method"].nunique() for setting in settings)
    with style.styled():
        figure, grid = style.panels(len(settings), (style.PANEL[0] + 0.4, 1.2 + 0.34 * most))
        for axes, setting in zip(grid, settings, strict=True):
            runs = private[private["setting"] == setting]
            means = runs.groupby("method")["rank"].mean().sort_values(kind="stable")
            for place, (method, mean) in enumerate(means.items()):
                ranks = runs[runs["method"] == method]["rank"].to_numpy()
                # Dots of equal rank lie beside each other.
                seen: dict[int, int] = {}
                for rank in ranks:
                    lift = 0.09 * seen.get(rank, 0)
                    seen[rank] = seen.get(rank, 0) + 1
                    axes.plot(rank, place - lift, ".", color=style.MUTED, alpha=0.45, ms=5, mew=0)
                axes.plot(mean, place, "D", color=style.PALETTE[0], mec="white", mew=0.6, ms=7, zorder=3)
                axes.annotate(f"{mean:.1f}", (mean, place), (0, -11), textcoords="offset points", ha="center", size=7.5)
            axes.set_yticks(range(len(means)), [titles[str(method)] for method in means.index])
            axes.set_ylim(len(means) - 0.4, -0.7)
            axes.grid(True, axis="x")
            axes.grid(False, axis="y")
            axes.set_xlabel("rank (1 is best)")
            pairs = runs.groupby(["task", "epsilon"]).ngroups if "task" in runs else runs["epsilon"].nunique()
            style.head(axes, setting, [f"{pairs} pairs of task and ε; diamond: mean"])
    return figure
