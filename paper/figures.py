"""The paper's figures, each from the rows of one study."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from dpjax.results import ResultsError
from dpjax.results.summarize import is_federated
from experiments import plots
from experiments.figures import style
from experiments.figures.as_algorithms import noises_as_algorithms
from experiments.figures.ranks import leaderboard_ranks
from experiments.leaderboard.declare import Method


class Wanted(NamedTuple):
    """A figure of the paper.

    Attributes:
      name: of its file.
      experiment: whose rows it shows.
      figure: name in ``plots.FIGURES``.
      federated: the federated rows of it, or the central ones; None: all.
      caption: in LaTeX.
    """

    name: str
    experiment: str
    figure: str
    federated: bool | None
    caption: str


WANTED = (
    Wanted(
        "curve", "quickstart", "privacy_utility_curve", False,
        r"What privacy costs on the digits: test accuracy against $\varepsilon$ for three clip norms, with a band of "
        r"one standard deviation over seeds and the non-private line.",
    ),
    Wanted(
        "heatmap", "quickstart", "epsilon_clip_heatmap", False,
        r"Test accuracy over $\varepsilon$ and clip norm; the best clip norm of each $\varepsilon$ is marked.",
    ),
    Wanted(
        "clients", "quickstart", "accuracy_by_clients", True,
        r"DP-FedAvg: test accuracy against the expected number of clients in a round.",
    ),
    Wanted(
        "pareto", "quickstart", "pareto_front", False,
        r"Accuracy, $\varepsilon$ and seconds: ringed is what no other run beats. Seconds are measured, so "
        r"that no two runs of the profile draw the same.",
    ),
    Wanted(
        "norms", "quickstart", "norm_histograms", False,
        r"Gradient norms against the clip norm, in the first and the last tenth of training.",
    ),
    Wanted(
        "signal", "quickstart", "signal_to_noise", False,
        r"Norm of the clipped sum over that of the noise, over training.",
    ),
    Wanted(
        "spent", "quickstart", "privacy_spent", False,
        r"Privacy spent over the steps, by three accountants; the central limit (GDP) is an approximation.",
    ),
    Wanted(
        "correlated", "dp_ftrl", "algorithms_by_epsilon", None,
        r"Noise that is correlated over the steps against independent noise, without amplification by sampling.",
    ),
    Wanted(
        "whose", "whose_noise", "algorithms_by_epsilon", None,
        r"The same $\varepsilon$ per client against other people: noise of the server, shares of the clients under "
        r"secure aggregation, and reports that each client randomises.",
    ),
    Wanted(
        "aggregation", "aggregation_cost", "aggregation_costs", True,
        r"What plain, secure and homomorphic sums cost.",
    ),
)  # fmt: skip
MEASURED = ("aggregation", "pareto")
"""Figures of seconds, which no two runs share."""


class Drawn(NamedTuple):
    """What was drawn, and why other figures were not."""

    wanted: list[Wanted]
    skipped: list[str]


def draw_all(frame: pd.DataFrame, folder: Path, formats: Sequence[str] = ("pdf", "svg")) -> Drawn:
    """Draws what the rows have the data for.

    Guarantees: the same rows give the same bytes.

    Args:
      frame: of ``gather``.
      folder: made if it is not there.
      formats: of the files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = Drawn([], [])
    for wanted in WANTED:
        runs: Any = frame[frame["experiment"] == wanted.experiment]
        rows: Any = noises_as_algorithms(runs)
        if wanted.federated is not None:
            rows = rows[is_federated(rows) == wanted.federated]
        if not len(rows):
            drawn.skipped.append(f"{wanted.name}: the profile has no rows of {wanted.experiment}")
            continue
        if wanted.figure not in plots.FIGURES:
            drawn.skipped.append(f"{wanted.name}: no figure is called {wanted.figure}")
            continue
        try:
            style.save(plots.draw(wanted.figure, rows), folder, wanted.name, formats)
        except ResultsError as error:
            drawn.skipped.append(f"{wanted.name}: {error}")
            continue
        drawn.wanted.append(wanted)
    return drawn


def draw_ranks(board: Any, methods: Mapping[str, Method], folder: Path, drawn: Drawn) -> None:
    """Draws the ranks of a leaderboard, and adds them to what was drawn.

    Args:
      board: of ``experiments.leaderboard.board``.
      methods: what was declared.
      folder: that is there.
      drawn: what is added to.
    """
    figure = leaderboard_ranks(board, {name: method.title for name, method in methods.items()})
    style.save(figure, folder, "ranks", ("pdf", "svg"))
    caption = r"Ranks of the methods over tasks and $\varepsilon$: a dot each, the diamond their mean."
    drawn.wanted.append(Wanted("ranks", "leaderboard", "leaderboard_ranks", None, caption))


def to_latex(drawn: Drawn) -> str:
    """The figures as LaTeX floats."""
    return "\n\n".join(_float(wanted) for wanted in drawn.wanted)


def _float(wanted: Wanted) -> str:
    size = r"width=\linewidth,height=.4\textheight,keepaspectratio"
    lines = [
        r"\begin{figure}[tbp]",
        r"  \centering",
        rf"  \includegraphics[{size}]{{figures/{wanted.name}.pdf}}",
        rf"  \caption{{{wanted.caption}}}\label{{fig:{wanted.name}}}",
        r"\end{figure}",
    ]
    return "\n".join(lines)
