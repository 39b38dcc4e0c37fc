"""Ratios against the targets, the Markdown that the docs quote, and the JSON that every work is merged into."""

import json
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from benchmarks.step_time.catalogue import WORKS

TITLES = {
    "logistic": "logistic regression",
    "mlp": "MLP 784-128-10",
    "cnn": "4-layer CNN",
    "transformer": "transformer 6 × 384, full",
    "transformer_lora": "transformer 6 × 384, LoRA",
    "minilm_full": "MiniLM, full",
    "minilm_lora": "MiniLM, LoRA",
}

METHOD = (
    "every step with its SGD update; order drawn anew each round; short turns begin with a step that is not counted"
)
"""Entries measured another way are not kept beside new ones: one caption speaks for all."""


class Target(NamedTuple):
    """A ratio of two contestants' step times and, for some works, what bounds it."""

    label: str
    above: str
    below: str
    at_most: bool
    bounds: dict[str, float]

    def met(self, work: str, value: float) -> bool:
        """Whether a ratio keeps to the bound of a work."""
        bound = self.bounds[work]
        return value <= bound if self.at_most else value >= bound


FIRST = tuple(WORKS)[:5]
"""Works with targets; those that came later are measured without."""


def _bounds(*values: float) -> dict[str, float]:
    return dict(zip(FIRST, values, strict=True))


TARGETS = {
    "floor": Target("dpjax / ordinary + noise", "auto", "ordinary+noise", True, _bounds(1.1, 1.3, 1.6, 1.05, 1.05)),
    "jax_privacy": Target("jax_privacy / dpjax", "jax_privacy", "auto", False, _bounds(3.5, 8, 5, 1.15, 1.1)),
    "opacus_ghost": Target("Opacus ghost / dpjax", "opacus_ghost", "auto", False, _bounds(2, 2.5, 1.7, 1.35, 1.3)),
    "opacus_hooks": Target("Opacus hooks / dpjax", "opacus_hooks", "auto", False, _bounds(4, 40, 2.2, 1.35, 1.0)),
}
LIKE_FOR_LIKE = {
    "memory": Target("memory, clipped / ordinary", "temp_bytes", "ordinary", True, dict.fromkeys(FIRST, 1.5)),
    "memory_noise": Target("memory, dpjax / ordinary + noise", "temp_bytes", "ordinary+noise", True, {}),
    "compile": Target("compile time, clipped / ordinary", "compile_s", "ordinary", True, dict.fromkeys(FIRST, 3.0)),
    "compile_noise": Target("compile time, dpjax / ordinary + noise", "compile_s", "ordinary+noise", True, {}),
}
"""At the same microbatch, without noise on either side or with it on both; no bound, no verdict."""


def ratios(entry: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Every ratio of one work that its contestants allow, with spread, target and verdict."""
    work, found, same = entry["work"], entry["contestants"], entry["like_for_like"]
    out: dict[str, dict[str, Any]] = {}
    for name, target in TARGETS.items():
        above, below = found.get(target.above, {}), found.get(target.below, {})
        if "median_ms" not in above or "median_ms" not in below:
            continue
        paired = [a / b for a, b in zip(above["times_ms"], below["times_ms"], strict=True)]
        low, high = (float(x) for x in np.percentile(paired, (10, 90)))
        out[name] = {"value": above["median_ms"] / below["median_ms"], "p10": low, "p90": high}
        if work in target.bounds:
            out[name] |= {"target": target.bounds[work], "met": target.met(work, out[name]["value"])}
    for name, target in LIKE_FOR_LIKE.items():
        if same is None or not same[target.below][target.above]:
            continue
        ours = "clipped" if target.below == "ordinary" else "auto"
        out[name] = {"value": same[ours][target.above] / same[target.below][target.above]}
        if work in target.bounds:
            out[name] |= {"target": target.bounds[work], "met": target.met(work, out[name]["value"])}
    return out


def merge(path: Path, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Put one work into the JSON file, over what it held of that work or by another method, and give all of it."""
    held = json.loads(path.read_text(encoding="utf-8"))["works"] if path.exists() else {}
    held = {name: old for name, old in held.items() if old.get("method") == METHOD}
    held[entry["work"]] = {**entry, "ratios": ratios(entry)}
    report = {"works": {name: held[name] for name in WORKS if name in held}}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return report


def markdown(report: Mapping[str, Any]) -> str:
    """All works: where, the ratios against their targets, then every contestant's time."""
    works = report["works"]
    quick = [name for name, entry in works.items() if entry["quick"]]
    lines = [f"Measured on {where}." for where in _places(works)]
    lines += [
        "",
        "Batch 256 (transformers: 32 sentences of 128 tokens; MiniLM: 64 texts of 32). A step is one gradient, with "
        "clipping and noise where the contestant has them, and its SGD update. The floor draws its noise with dpjax's "
        "sampler, the others with their own. Every contestant runs at the best microbatch that was tried, in turns "
        'with all the others, in an order drawn anew each round, and warm; dpjax is `engine="auto"` and chooses its '
        "own. Ratios of medians, with the 10–90 % range over rounds.",
        *(["", f"**A quick run ({', '.join(quick)}): not to quote.**"] if quick else []),
        "",
        "| work | ratio | measured | 10–90 % | target | |",
        "|---|---|---:|---:|---:|---|",
    ]
    for name, entry in works.items():
        for key, target in (TARGETS | LIKE_FOR_LIKE).items():
            if key not in entry["ratios"]:
                continue
            ratio = entry["ratios"][key]
            spread = f"{ratio['p10']:.2f}–{ratio['p90']:.2f}" if "p10" in ratio else ""
            bound = f"{'≤' if target.at_most else '≥'} {ratio['target']:g}" if "target" in ratio else ""
            verdict = _verdict(ratio)
            lines.append(f"| {TITLES[name]} | {target.label} | {ratio['value']:.2f} | {spread} | {bound} | {verdict} |")
    for name, entry in works.items():
        lines += ["", f"**{TITLES[name]}**, {entry['parameters']:,} trainable parameters", "", *_table(entry)]
    return "\n".join([*lines, ""])


def _verdict(ratio: Mapping[str, Any], form: str = "{}") -> str:
    return form.format("met" if ratio["met"] else "not met") if "met" in ratio else ""


def _places(works: Mapping[str, Any]) -> list[str]:
    places: dict[str, list[str]] = {}
    for name, entry in works.items():
        facts = dict(entry["machine"])
        head = f"{facts.pop('cores')} cores of {facts.pop('cpu')} ({facts.pop('backend')} backend)"
        place = f"{head}; " + ", ".join(f"{key} {value}" for key, value in facts.items())
        places.setdefault(place, []).append(name)
    return [place if len(places) == 1 else f"{place} ({', '.join(on)})" for place, on in places.items()]


def _table(entry: Mapping[str, Any]) -> list[str]:
    lines = [
        "| contestant | ms | 10–90 % | × floor | microbatch | temporary MiB | compile s | deviation |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    same, floor = entry["like_for_like"], entry["contestants"].get("ordinary+noise", {}).get("median_ms")
    for name, row in entry["contestants"].items():
        if "median_ms" not in row:
            lines.append(f"| {name} | {row['error'].replace('|', '/')} | | | | | | |")
            continue
        size = row["microbatch"]
        if name == "materialize":
            size = entry["batch"]
        elif size is None:
            size = f"{same['microbatch']} (chosen)" if same else "chosen"
        elif row["loss"] != "plain":
            size = f"{size}, {row['loss']}"
        memory = f"{row['temp_bytes'] / 2**20:.1f}" if "temp_bytes" in row else "—"
        seconds = f"{row['compile_s']:.1f}" if "compile_s" in row else "—"
        deviation = f"{row['deviation']:.0e}" if "deviation" in row else "—"
        if not row.get("agrees", True):
            deviation += " **wrong**"
        if row.get("parameters", entry["parameters"]) != entry["parameters"]:
            name += f" (trains {row['parameters']:,})"
        times = f"{row['median_ms'] / floor:.2f}" if floor else "—"
        spread = f"{row['p10_ms']:.2f}–{row['p90_ms']:.2f}"
        cells = (name, f"{row['median_ms']:.2f}", spread, times, size, memory, seconds, deviation)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


def summary(entry: Mapping[str, Any]) -> str:
    """One line for the terminal."""
    parts = [f"{name} {ratio['value']:.2f}{_verdict(ratio, ' ({})')}" for name, ratio in ratios(entry).items()]
    rounds = median(row["rounds"] for row in entry["contestants"].values() if "rounds" in row) if parts else 0
    return f"  {rounds:.0f} rounds: " + ", ".join(parts)
