"""The ratios against their targets, and the tables of stages and sizes, in Markdown."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple

from benchmarks.step_time.report import TITLES

Turns = Mapping[str, Sequence[Mapping[str, float]]]
"""Contestant → what each of its turns took; turns of one index were neighbours."""
OURS, ORDINARY, FLOOR, PEER, BEFORE = "auto", "ordinary", "ordinary+noise", "jax_privacy", "before"


class Target(NamedTuple):
    """A ratio of two contestants, and for some works what it should reach."""

    label: str
    above: str
    below: str
    what: str
    at_most: bool
    bounds: Mapping[str, float]


_LARGE = ("transformer", "transformer_lora", "minilm_full")
TARGETS = (
    Target(
        "compile, dpjax / ordinary", OURS, ORDINARY, "total", True, {"mlp": 1.5, "cnn": 1.8} | dict.fromkeys(_LARGE, 2)
    ),
    Target("compile, dpjax / ordinary + noise", OURS, FLOOR, "total", True, {}),
    Target(
        "compile, jax_privacy / dpjax", PEER, OURS, "total", False, {"mlp": 1.4, "cnn": 1.4} | dict.fromkeys(_LARGE, 2)
    ),
    Target("compile, dpjax / before", OURS, BEFORE, "total", True, {}),
    Target("temporary memory, dpjax / ordinary", OURS, ORDINARY, "temp_bytes", True, dict.fromkeys(_LARGE, 1.2)),
    Target("operations, dpjax / ordinary", OURS, ORDINARY, "operations", True, {}),
)


def ratio_rows(work: str, turns: Turns) -> list[str]:
    """Medians of the ratios of neighbouring turns, each with its target."""
    rows = []
    for target in TARGETS:
        if target.above not in turns or target.below not in turns:
            continue
        pairs = zip(turns[target.above], turns[target.below], strict=True)
        each = [above[target.what] / below[target.what] for above, below in pairs if below[target.what]]
        if not each:
            continue
        value, bound = median(each), target.bounds.get(work)
        sign = "≤" if target.at_most else "≥"
        wanted = "" if bound is None else f"{sign} {bound:g}"
        met = "" if bound is None else "met" if (value <= bound) == target.at_most or value == bound else "not met"
        rows.append(
            f"| {TITLES[work]} | {target.label} | {value:.2f} | {min(each):.2f}–{max(each):.2f} | {wanted} | {met} |"
        )
    return rows


def stage_rows(work: str, turns: Turns) -> list[str]:
    """What each contestant's stages took, in seconds of the clock and of all cores, and how large its program is."""
    rows = []
    for name, each in turns.items():
        middle = {what: median(turn[what] for turn in each) for what in each[0]}
        cells = [f"{middle[what]:.2f}" for what in ("trace", "lower", "xla", "total", "total_cpu")]
        sizes = [f"{middle[what]:,.0f}" for what in ("operations", "instructions")]
        rows.append(f"| {TITLES[work]} | {name} | {' | '.join(cells + sizes)} | {middle['temp_bytes'] / 2**20:.1f} |")
    return rows


def markdown(works: Mapping[str, Turns], where: str) -> str:
    """All works."""
    lines = [
        f"Measured on {where}. Every contestant compiles the same step from scratch, in turns, with nothing cached; "
        "dpjax chooses its microbatch, and the others have the same. Medians of the ratios of neighbouring turns, with "
        "their range. *Ordinary* is one gradient and its SGD update without privacy, *ordinary + noise* adds noise to "
        "it; *before* is the revision that `--against` named.",
        "",
        "| work | ratio | measured | range | target | |",
        "|---|---|---:|---:|---:|---|",
        *(row for work, turns in works.items() for row in ratio_rows(work, turns)),
        "",
        "Seconds of the clock but for *all cores*; *operations* are those of the program that JAX hands to XLA, "
        "*instructions* those of what XLA makes of it.",
        "",
        "| work | contestant | trace | lower | XLA | total | all cores | operations | instructions | temporary MiB |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
        *(row for work, turns in works.items() for row in stage_rows(work, turns)),
        "",
    ]
    return "\n".join(lines)
