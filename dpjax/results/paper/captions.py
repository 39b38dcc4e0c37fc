"""What a paper's table says below itself: what its cells are, what bold means, and what its ε rest on."""

import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from dpjax.results.claims import (
    assumed_sentences,
    learnt_sentence,
    number,
    owners_sentence,
    released_sentence,
    rounded_up,
    sampling_word,
    small,
    steps_word,
    text,
)
from dpjax.results.computed import computed_sentence
from dpjax.results.majority import majority_sentence
from dpjax.results.mishaps import count_sentences
from dpjax.results.outdone import outdone_sentence
from dpjax.results.paper.bold import Bold
from dpjax.results.paper.naming import column_name, value_name
from dpjax.results.paper.spec import TableSpec
from dpjax.results.remarks import MARK, basis_sentences
from dpjax.results.rivals import SUBJECT, rivals_share
from dpjax.results.wording import cell_text, diverged_runs

BOLD = "Bold"
"""How the sentence on bold type begins; a text of plain signs writes a star there."""


class Facts(NamedTuple):
    """What a caption is written of.

    Attributes:
      points: the rows of ``summary`` in the table's cells.
      metrics: what its cells hold, the first chooses.
      shown: columns of the results that stand in the table, of which the caption need not speak.
      hidden: columns that points of one cell differed in, by name.
      other: whether they differed in what is no column.
      bold: metric → which cells are bold, and why.
    """

    points: Sequence[dict[str, Any]]
    metrics: Sequence[str]
    shown: Sequence[str]
    hidden: Sequence[str]
    other: bool
    bold: dict[str, Bold]


def title(spec: TableSpec, facts: Facts, differing: Sequence[str] = ()) -> str:
    """What all cells of a table share: data, model, unit, and ε where it is in no row and no column.

    Formal guarantees: of several tables, no two titles are the same, and each names the columns that it differs in.

    Args:
      spec: of the table.
      facts: about it.
      differing: columns in which this table and others beside it differ.

    Example:
      >>> facts = Facts([{"dataset": "digits", "model": "mlp", "delta": 1e-5}], [], [], [], False, {})
      >>> title(TableSpec(), facts), title(TableSpec(), facts, ["model", "delta"])
      ('digits, mlp', 'digits, model mlp, δ = 1e-5')
    """
    first = facts.points[0]

    usual = [name for name in ("dataset", "model", "unit", "partition", "split", "epsilon") if name not in facts.shown]

    def words(name: str) -> str:
        value = value_name(spec, first, name) if name in first else "–"
        if name in ("epsilon", "delta"):
            return f"{column_name(spec, name)} = {value}"
        if value == "–" and name in usual:
            return value  # to lack what others have is told by the title's lacking it
        if name == "unit":
            return f"per {value}"
        return f"{column_name(spec, name)} {value}" if name in differing else value

    names = dict.fromkeys([*usual, *differing])
    told = [words(name) for name in names if name in differing or name != "epsilon" or "epsilon" in first]
    return ", ".join(each for each in told if each != "–" and (differing or not each.endswith("= –")))


def sentences(spec: TableSpec, facts: Facts) -> list[str]:
    """The caption after its title, one sentence each.

    Formal guarantees: states δ, or that none is stated, adjacency, sampling and accountant unless they stand in the
    table, of private points; the sampling rate and the steps where all points have the same; what ε assumes, as noise
    that is simulated; whether tuning was paid for; what was chosen where points shared a cell; that rows without noise,
    and what inputs were made with, are not private; runs that diverged; and an ε above the one asked for.

    Args:
      spec: of the table.
      facts: about it.

    Example:
      >>> point = {"delta": 1e-5, "adjacency": "zero_out", "epsilon": 1.0, "epsilon_pld": 1.0, "n": 3, "diverged": 0,
      ...          "test_accuracy_mean": 0.9}
      >>> for line in sentences(TableSpec(bold="none"), Facts([point], ["test_accuracy"], ["epsilon"], [], False, {})):
      ...     print(line)
      δ=1e-5; zero_out.
      Test accuracy: mean ± standard deviation over 3 seeds.
      Hyper-parameter tuning is not accounted.
      Test rows are taken as public: no ε covers them.
    """
    private = [point for point in facts.points if not _is_reference(point)]
    lines = [_mechanism(facts, private), _cells(spec, facts), _chosen(spec, facts), *_bold(spec, facts)]
    lines += [computed_sentence(private), *assumed_sentences(private), _tuning(private)] if private else []
    if len(private) < len(facts.points):
        lines.append("ε = ∞ is not private.")
    lines += [f"{each}." for name in facts.metrics if (each := majority_sentence(list(facts.points), name))]
    lines += [outdone_sentence(of, name) for of in _compared(facts) for name in facts.metrics]
    owned = dict.fromkeys(filter(None, map(owners_sentence, private)))
    lines += [f"{each}." for each in (*owned, *dict.fromkeys(filter(None, map(learnt_sentence, private))))]
    lines += [f"{each}." for each in dict.fromkeys(filter(None, map(released_sentence, private)))]
    lines += basis_sentences(facts.points, [*facts.metrics, *facts.shown])
    lines += count_sentences(facts.points).values()
    diverged = sum(point["diverged"] for point in facts.points)
    if diverged:
        lines.append(f"×: {diverged_runs(diverged, sum(point['n'] for point in facts.points))}.")
    # Of Greek letters and of names with a line in them, such as zero_out, a sentence may begin with a small one.
    return [
        line if line[0] in f"δε{MARK}" or "_" in re.split(r"\W", line)[0] else line[0].upper() + line[1:]
        for line in lines
        if line
    ]


def _mechanism(facts: Facts, private: Sequence[dict[str, Any]]) -> str:
    first, shown = facts.points[0], facts.shown
    delta = number(first, "delta")
    parts = []
    if private and "delta" not in shown:
        parts.append("δ not stated" if delta is None else f"δ={rounded_up(delta, 6)}")
    parts += [text(first, "adjacency")] if private and "adjacency" not in shown else []
    if text(first, "sampling") and "sampling" not in shown:
        rate = "" if "sampling_rate" in shown else _one(facts.points, "sampling_rate")
        parts.append(f"{sampling_word(text(first, 'sampling'))} sampling" + (f", q={rate}" if rate else ""))
    steps = "" if "num_steps" in shown else _one(facts.points, "num_steps")
    parts += [f"{steps} {steps_word(first)}"] if steps else []
    accountants = list(dict.fromkeys(cell_text(point, "accountant") for point in private if text(point, "accountant")))
    if accountants and "accountant" not in shown:
        parts.append(f"accountant{'s' if len(accountants) > 1 else ''} {_and(accountants)}")
    parts = [part for part in parts if part]
    return "; ".join(parts) + "." if parts else ""


def _one(points: Sequence[dict[str, Any]], name: str) -> str:
    """The number that all points have in a column, to three digits if it is no whole one; empty if they differ."""
    values = {number(point, name) for point in points}
    value = values.pop() if len(values) == 1 else None
    return "" if value is None else small(value if value == round(value) else float(f"{value:.3g}"))


def _cells(spec: TableSpec, facts: Facts) -> str:
    counts = sorted({int(point["n"]) for point in facts.points})
    if counts == [1]:
        seeds, spread = "of one seed, without a spread", ""
    else:
        seeds = f"over {counts[0]} seeds" if len(counts) == 1 else f"over {counts[0]} to {counts[-1]} seeds"
        spread = {
            "std": " ± standard deviation",
            "sem": " ± standard error",
            "ci": f" ± half of the {spec.confidence * 100:g} % confidence interval (Student's t)",
            "none": "",
        }[spec.spread]
    what = "mean" if counts != [1] else "value"
    return f"{_and([column_name(spec, name) for name in facts.metrics])}: {what}{spread} {seeds}."


def _chosen(spec: TableSpec, facts: Facts) -> str:
    over = [column_name(spec, name) for name in facts.hidden] + (
        ["settings outside the columns"] if facts.other else []
    )
    if not over:
        return ""
    each = "cell" if spec.columns else "line"
    by = column_name(spec, facts.metrics[0])
    return f"Each {each} is the best over {_and(over)}, by the mean of {by}: chosen on what is shown."


def _bold(spec: TableSpec, facts: Facts) -> list[str]:
    told = {name: bold for name, bold in facts.bold.items() if bold.chosen}
    differing = [name for name in rivals_share(facts.shown) if len({str(p.get(name)) for p in facts.points}) > 1]
    kept = [column_name(spec, name) for name in differing if name != "epsilon"]
    if not told:
        asked = spec.bold != "none" and kept
        return [f"Nothing is bold, for what differs in {_and(kept)} does not compare."] if asked else []
    of_each = _and([*(["ε"] if "epsilon" in differing else []), *kept]) if differing else ""
    best = f"the best mean of each {of_each}" if of_each else "the best mean"
    if spec.bold == "mean":
        return [f"{BOLD}: {best}."]
    tests = {column_name(spec, name): bold.tests for name, bold in told.items() if bold.tests}
    untested, infinite = (sum(getattr(bold, name) for bold in told.values()) for name in ("untested", "infinite"))
    if not tests and untested and not infinite:
        return [f"{BOLD}: {best} alone, for no test was possible: no two cells have two seeds in common."]
    lines = [f"{BOLD}: {best}."]
    if tests:
        lines = [
            f"{BOLD}: {best}, and what is not shown to be worse (paired t-test over common seeds, "
            f"{_comparisons(tests)}; {spec.confidence * 100:g} % confidence), which is no proof that it is as good."
        ]
    equal = sum(bold.equal for bold in told.values())
    if equal:
        of = "1 comparison has" if equal == 1 else f"{equal} comparisons have"
        lines.append(f"{of} the same difference at every seed: no t-test was possible there, sign flips stand in.")
    if untested:
        cells = "1 cell has" if untested == 1 else f"{untested} cells have"
        lines.append(f"{cells} fewer than two seeds in common with the best: no test was possible there.")
    if infinite:
        cells = "1 cell is" if infinite == 1 else f"{infinite} cells are"
        lines.append(f"{cells} of values that are not finite: no test was possible there.")
    return lines


def _comparisons(tests: dict[str, int]) -> str:
    """How many tests were corrected together: those of each metric by themselves."""
    counts = list(tests.values())
    if len(counts) == 1:
        return "1 comparison" if counts == [1] else f"{counts[0]} comparisons corrected by Holm"
    of_each = _and([f"{count} of {name}" for name, count in tests.items()])
    return f"{sum(counts)} comparisons, {of_each}, corrected by Holm for each metric"


def _tuning(private: Sequence[dict[str, Any]]) -> str:
    paid = [str(point.get("tuning_accounted")) == "True" for point in private]
    if any(paid) and not all(paid):
        return f"Hyper-parameter tuning is accounted in {sum(paid)} of {len(paid)} points alone."
    return f"Hyper-parameter tuning {'is' if all(paid) else 'is not'} accounted."


def _compared(facts: Facts) -> list[list[dict[str, Any]]]:
    """The points by what they are of: a point without privacy is the ceiling of its own data set and model alone."""
    found: dict[Any, list[dict[str, Any]]] = {}
    for point in facts.points:
        found.setdefault(tuple(str(point.get(name)) for name in SUBJECT[1:]), []).append(point)
    return list(found.values())


def _and(words: Sequence[str]) -> str:
    words = list(dict.fromkeys(words))
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _is_reference(point: dict[str, Any]) -> bool:
    return number(point, "epsilon") == math.inf
