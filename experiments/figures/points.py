"""What the charts draw: families of comparable points, and for each point shown the best of what is not."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from dpjax.results.choices import best_per as best_per
from dpjax.results.choices import hidden_choices as hidden_choices
from dpjax.results.claims import owners_sentence, rounded_up, sampling_word, small, steps_word, tuning_clause
from dpjax.results.computed import computed_sentence
from dpjax.results.majority import majority_sentence
from dpjax.results.mishaps import count_sentences
from dpjax.results.remarks import basis_sentences
from dpjax.results.rivals import FAMILY
from dpjax.results.summarize import is_federated, summary
from dpjax.results.wording import mean_and_std, with_told_epsilon
from experiments.figures import style
from experiments.figures.look import Look

_COUNTED = {"clients_per_round": "clients per round", "num_clients": "clients in all"}


class Panel(NamedTuple):
    """One panel of a chart: points of one family.

    Attributes:
      title: data set, model, unit, and what tells this panel from its neighbours.
      lines: the mechanism; seeds and tuning.
      private: one row per point with finite ε, sorted by ε, and in ``spread`` what is drawn either side of its mean.
      reference: one row per point without DP.
    """

    title: str
    lines: list[str]
    private: pd.DataFrame
    reference: pd.DataFrame

    @property
    def points(self) -> pd.DataFrame:
        """All of them, private first."""
        return pd.concat([self.private, self.reference])


def panels_of(frame: pd.DataFrame, metric: str, by: Sequence[str] = (), look: Look = style.PLAIN) -> list[Panel]:
    """A results table as panels of comparable points.

    Args:
      frame: what ``collect`` or ``load`` gave.
      metric: the column on the y axis.
      by: columns that get a panel per value, besides those that families differ in.
      look: what spread its lines speak of.

    Raises:
      ResultsError: the table has no such numeric column.

    >>> from dpjax.results.table import frame_of
    >>> rows = [{"dataset": "digits", "epsilon": e, "test_accuracy": 0.9} for e in (1.0, float("inf"))]
    >>> panel, = panels_of(frame_of(rows), "test_accuracy")
    >>> panel.title, len(panel.private), len(panel.reference)
    ('digits', 1, 1)
    """
    points: Any = summary(frame, metric)
    points = points.assign(spread=look.half_widths(points, metric))
    points = points[points["epsilon"].notna()]
    points = with_told_epsilon(points)
    keys = [*FAMILY, *by]
    # Central before federated.
    points = points.assign(federated=is_federated(points)).sort_values("federated", kind="stable")
    several = points["experiment"].nunique() > 1
    told_apart = [*by, *(["split"] if points["split"].nunique(dropna=False) > 1 else [])]
    panels = []
    for values, group in points.groupby(keys, dropna=False, sort=False):
        where = dict(zip(keys, values, strict=True))
        lines, group = notes_of(group, look, [metric]), group[group[f"{metric}_mean"].notna()]
        if not len(group):
            continue
        is_private = group["epsilon"] < math.inf
        panels.append(
            Panel(
                title=_title(where, told_apart, several),
                lines=lines,
                private=group[is_private].sort_values("epsilon", kind="stable"),
                reference=group[~is_private],
            )
        )
    return panels


def one_algorithm(frame: pd.DataFrame) -> list[str]:
    """What keeps algorithms in panels of their own, for charts that compare something else.

    Args:
      frame: what ``collect`` or ``load`` gave.

    >>> one_algorithm(pd.DataFrame({"algorithm": ["fedavg", "scaffold"]}))
    ['algorithm']
    """
    return ["algorithm"] if len(set(frame["algorithm"].dropna())) > 1 else []


def values_of(points: pd.DataFrame, name: str) -> list[float]:
    """The values of a column that occur, in ascending order.

    Args:
      points: a panel's points.
      name: the column.

    >>> values_of(pd.DataFrame({"clip_norm": [1.0, 0.1, None]}), "clip_norm")
    [0.1, 1.0]
    """
    column: Any = points[name]
    return sorted({float(value) for value in column.dropna()})


def mean_label(point: Any, metric: str) -> str:
    """A point's mean and spread, to print beside it; × if a run of it diverged.

    Args:
      point: a row of a panel.
      metric: the column.

    >>> mean_label({"test_accuracy_mean": 0.97, "spread": 0.005}, "test_accuracy")
    '0.970 ± 0.005'
    """
    label = mean_and_std(point[f"{metric}_mean"], point["spread"])
    return f"{label} ×" if point.get("diverged") else label


def _title(where: dict[str, Any], by: Sequence[str], several_experiments: bool) -> str:
    names: list[Any] = [where["experiment"]] if several_experiments else []
    names += [where["dataset"], where["model"], f"per {where['unit']}" if isinstance(where["unit"], str) else ""]
    names += [where["partition"], where["split"] if "split" in by else ""]
    names += [f"{small(where[name])} {_COUNTED[name]}" for name in by if name in _COUNTED and pd.notna(where[name])]
    names += [where["algorithm"]] if "algorithm" in by else []
    if "epsilon" in by:
        names.append("non-private" if math.isinf(where["epsilon"]) else f"ε = {small(where['epsilon'])}")
    return ", ".join(name for name in names if isinstance(name, str) and name)


def notes_of(points: Any, look: Look = style.PLAIN, shown: Sequence[str] = ()) -> list[str]:
    """What a panel says of its points: the mechanism, the spread over seeds, tuning, and what went wrong.

    Args:
      points: rows of ``summary``.
      look: what spread is drawn.
      shown: columns that are drawn.
    """
    first = points.iloc[0]
    parts = [f"δ={rounded_up(first['delta'], 6)}"] if pd.notna(first["delta"]) else []
    parts += [first["adjacency"]] if isinstance(first["adjacency"], str) else []
    rates, steps = values_of(points, "sampling_rate"), values_of(points, "num_steps")
    if isinstance(first["sampling"], str):
        rate = f" q={small(float(f'{rates[0]:.3g}'))}" if len(rates) == 1 else ""
        parts.append(sampling_word(first["sampling"]) + rate)
    parts += [f"{small(steps[0])} {steps_word(first)}"] if len(steps) == 1 else []
    # What every curve of the panel has in common is said, for another sweep may have another.
    clips, cohorts = (
        values_of(points[points["epsilon"] < math.inf], "clip_norm"),
        values_of(points, "clients_per_round"),
    )
    parts += [f"clip norm {small(clips[0])}"] if len(clips) == 1 else []
    parts += [f"{small(cohorts[0])} clients a round"] if len(cohorts) == 1 else []
    diverged = int(points["diverged"].sum())
    seeds = sorted(set(points["n"]))
    count = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    spread = "one seed" if seeds == [1] else f"{look.spread_words} over {count} seeds"
    private = points[points["epsilon"] < math.inf]
    paid = len(private) and bool((private["tuning_accounted"].fillna(False)).all())
    lines = [", ".join(parts), f"{spread}; {tuning_clause(paid)}"]
    lines += [line.rstrip(".") for line in basis_sentences(points.to_dict("records"), shown)]
    if private["learnt"].notna().any():
        lines.append("NOT private: inputs were made with what was read off the rows")
    if private["release_noise_multiplier"].notna().any():
        lines.append("ε includes ranges or values of inputs, released with noise")
    lines += filter(None, [majority_sentence(points, column) for column in shown])
    lines += [f"×: {diverged} of {points['n'].sum()} runs diverged"] if diverged else []
    rows = points.to_dict("records")
    of_private = [row for row in rows if row["epsilon"] < math.inf]
    lines += [each.rstrip(".") for each in count_sentences(rows).values()]
    owned = next(filter(None, map(owners_sentence, of_private)), "")
    return [
        *lines,
        *filter(None, [owned.partition(": ")[0], computed_sentence(of_private).rstrip(".")]),
    ]


def cross_out(axes: Axes, x: Any, y: Any, points: Any) -> None:
    """A cross over each point of which a run diverged; what it then shows is no result.

    Args:
      axes: the panel.
      x, y: where the points were drawn.
      points: rows of ``summary``, in the same order.

    >>> from matplotlib.figure import Figure
    >>> axes = Figure().subplots()
    >>> cross_out(axes, [1.0, 2.0], [0.9, 0.1], pd.DataFrame({"diverged": [0, 1]}))
    >>> axes.lines[0].get_xydata().tolist()
    [[2.0, 0.1]]
    """
    broken = (points["diverged"] > 0).to_numpy()
    if broken.any():
        axes.plot(
            np.asarray(x)[broken], np.asarray(y)[broken], ls="", marker="x", ms=10, mew=2.2, color=style.INK, zorder=4
        )
