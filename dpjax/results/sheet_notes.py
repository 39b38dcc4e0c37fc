"""What stands above and below a sheet: what it is of, what its rows rest on, and what to beware of."""

import math
from collections.abc import Sequence
from typing import Any

from dpjax.results.chance import chance_sentence, starred_sentences
from dpjax.results.claims import (
    assumed_sentences,
    learnt_sentence,
    number,
    owners_sentence,
    released_sentence,
    rounded_up,
    sampling_word,
    text,
)
from dpjax.results.majority import UNBALANCED
from dpjax.results.mishaps import count_sentences
from dpjax.results.outdone import outdone_sentence
from dpjax.results.wording import ROUNDED_UP, cell_text, diverged_runs, label

_TITLE = ("experiment", "dataset", "model", "unit", "partition", "split")


def title(point: dict[str, Any], differing: Sequence[str] = ()) -> str:
    """What a family of points that may be compared is of: experiment, data set, model and unit.

    Args:
      point: one of them, a row of ``summary``.
      differing: columns in which the families of a table differ: two of them never have one title.

    Example:
      >>> title({"dataset": "digits", "model": "mlp", "unit": "example"})
      'digits, mlp, per example'
      >>> title({"dataset": "digits", "model": "mlp", "delta": 1e-5}, ["model", "delta"])
      'digits, model mlp, δ 1e-5'
      >>> title({"dataset": "digits", "model": "mlp", "partition": None}, ["partition"])
      'digits, mlp'
    """
    names = dict.fromkeys([*_TITLE, *differing])
    told = {name: cell_text(point, name) if name in point else "–" for name in names}
    return ", ".join(
        f"per {value}" if name == "unit" and value != "–" else f"{label(name)} {value}" if name in differing else value
        for name, value in told.items()
        if value != "–" or name not in _TITLE  # to lack what others have is told by the title's lacking it
    )


def notes_of(points: list[dict[str, Any]], shared: dict[str, str], seeds: list[str], metric: str) -> list[str]:
    """The sentences below a sheet.

    Args:
      points: rows of ``summary``, its rows.
      shared: column → the text that all of them have there.
      seeds: number of seeds of each.
      metric: that the best is chosen by.
    """
    first = points[0]
    delta = number(first, "delta")
    private = [point for point in points if not is_reference(point)]
    parts = ["δ not stated" if delta is None else f"δ={rounded_up(delta, 6)}"] if private else []
    parts += [text(first, "adjacency")] if private and text(first, "adjacency") else []
    parts += [f"{sampling_word(text(first, 'sampling'))} sampling"] if text(first, "sampling") else []
    paid = shared.pop("tuning_accounted", "False")
    parts += [_stated(name, value, first) for name, value in shared.items() if private or name != "accountant"]
    notes = ["; ".join(parts) + "." if parts else ""]
    warned = _warnings(points)
    if not private:
        return [note for note in [*notes, *warned] if note]
    tuning = "is" if paid == "True" else "is not"
    owned = next(filter(None, map(owners_sentence, points)), "")
    notes += [f"{owned[0].upper()}{owned[1:]}."] if owned else []
    notes += [f"{each}." for each in dict.fromkeys(map(learnt_sentence, points)) if each]
    notes += [f"{each}." for each in dict.fromkeys(map(released_sentence, points)) if each]
    notes += assumed_sentences(points)
    common = number(first, "test_majority")
    if common is not None and common >= UNBALANCED:
        notes.append(f"Always saying the commonest class is right for {common:.3f} of the test rows; see test_auroc.")
    notes.append(f"Hyper-parameter tuning {tuning} accounted; the best of each ε (★) is chosen by {label(metric)}.")
    if len(set(seeds)) == 1 and int(seeds[0]) > 1:
        notes.append(f"Mean ± standard deviation over {seeds[0]} seeds.")
    if metric == "test_r2" and any((number(point, "test_r2_mean") or 0.0) < 0 for point in points):
        notes.append("An R² below 0 is worse than saying the mean of the test labels whatever the input.")
    return [note for note in [*notes, outdone_sentence(points, metric), *warned] if note]


def _stated(name: str, value: str, point: dict[str, Any]) -> str:
    """What all rows share, a count with what it counts."""
    if name == "trained_parameters":
        return f"{value} parameter{'s' * (value != '1')} trained"
    counted = {  # what is drawn one by one where each unit owns several
        "population": "record" if (number(point, "records_per_unit") or 1) > 1 else text(point, "unit"),
        "num_steps": "round" if number(point, "clients_per_round") else "step",
    }
    what = counted.get(name)
    if not what or value == "–":
        return f"{label(name)} {value}"
    several = f"{value} {what}{'s' * (value != '1')}"
    return several if name == "num_steps" else f"{label(name)} {several}"


def _warnings(points: list[dict[str, Any]]) -> list[str]:
    diverged = sum(point["diverged"] for point in points)
    lines = [sentence] if (sentence := chance_sentence(points)) else []
    lines += starred_sentences(points)
    lines += count_sentences(points).values()
    lines += [f"{label(name)} {why}." for name in ROUNDED_UP if (why := _why_infinite(points, name))]
    if diverged:
        lines.append(f"{diverged_runs(diverged, sum(point['n'] for point in points))}: lower the learning rate.")
    return lines


def _why_infinite(points: list[dict[str, Any]], name: str) -> str:
    """Why an accountant claims nothing of runs of which the other claims a finite ε."""
    other = next(column for column in ROUNDED_UP if column != name)
    unclaimed = [p for p in points if number(p, name) == math.inf and math.isfinite(number(p, other) or math.inf)]
    if not unclaimed:
        return ""
    which = ", ".join(dict.fromkeys(cell_text(point, "epsilon") for point in unclaimed))
    return (
        f"is ∞ where ε is {which}: its bound lies above the ε that the capacity of the cohorts was made for, and so "
        "claims nothing"
    )


def is_reference(point: dict[str, Any]) -> bool:
    """Whether a point is of runs without privacy.

    Args:
      point: a row of ``summary``.
    """
    return number(point, "epsilon") == math.inf
