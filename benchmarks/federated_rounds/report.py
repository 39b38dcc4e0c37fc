"""Ratios against the targets, and the JSON and Markdown that works and scaling are merged into."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.federated_rounds.works import WORKS

TITLES = {"mlp": "MLP 64-128-10", "cnn": "CNN on 28×28"}
TARGETS = {"mlp": 30.0, "cnn": 3.0}
"""At least so many times the rounds per second of pfl-research in one process, at its better number of threads."""
FLAT, LINEAR = 1.1, 1.25
"""How much a round may cost with the largest population, and a client in the largest cohort, × the smallest's."""
METHOD = "turns in an order drawn anew each time; dpjax: a compiled run; pfl: rounds of about half a second together"
"""Entries measured another way are not kept beside new ones."""

Rows = Mapping[str, Mapping[str, Any]]


def ratios(found: Rows, work: str) -> dict[str, dict[str, Any]]:
    """pfl's time by ours: in one process, against the target, and in one process per core."""
    timed = {name: row for name, row in found.items() if "median_ms" in row}
    out: dict[str, dict[str, Any]] = {}
    for label, processes in (("one process", False), ("one process per core", True)):
        names = [name for name in timed if name.startswith("pfl") and name.endswith("processes") == processes]
        if "dpjax" not in timed or not names:
            continue
        best, ours = min(names, key=lambda name: timed[name]["median_ms"]), timed["dpjax"]
        paired = [a / b for a, b in zip(timed[best]["times_ms"], ours["times_ms"], strict=True)]
        low, high = (float(x) for x in np.percentile(paired, (10, 90)))
        value = timed[best]["median_ms"] / ours["median_ms"]
        out[label] = {"peer": best, "value": value, "p10": low, "p90": high}
        if not processes:
            out[label] |= {"target": TARGETS[work], "met": value >= TARGETS[work]}
    return out


def merge(path: Path, work: Mapping[str, Any] | None = None, scaling: Mapping[str, Any] | None = None) -> dict:
    """Put what was measured into the JSON file, over what it held of the same, and give all of it."""
    held = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if held.get("method") != METHOD:
        held = {}
    works = held.get("works", {})
    if work is not None:
        works[work["work"]] = {**work, "ratios": ratios(work["contestants"], work["work"])}
    report = {"method": METHOD, "works": {name: works[name] for name in WORKS if name in works}}
    if scaling is not None or "scaling" in held:
        report["scaling"] = scaling if scaling is not None else held["scaling"]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return report


def markdown(report: Mapping[str, Any]) -> str:
    """All of it, as the docs quote it."""
    parts = [_work(entry) for entry in report["works"].values()]
    if report["works"]:
        parts.insert(0, _ratios(report["works"]))
    if "scaling" in report:
        parts.append(_scaling(report["scaling"]))
    return "\n".join(line for part in parts for line in [*part, ""])


def summary(entry: Mapping[str, Any]) -> str:
    """One line for the terminal."""
    by_contestant = ratios(entry["contestants"], entry["work"])
    return "  " + "; ".join(
        f"{row['value']:.1f} × {row['peer']}{' (' + _verdict(row) + ')' if 'met' in row else ''}"
        for row in by_contestant.values()
    )


def place(facts: Mapping[str, str]) -> str:
    """The machine and the versions, in one line."""
    rest = ", ".join(f"{name} {value}" for name, value in facts.items() if name not in ("cpu", "cores", "backend"))
    return f"{facts['cores']} cores of {facts['cpu']} ({facts['backend']} backend); {rest}"


def _verdict(row: Mapping[str, Any]) -> str:
    return "met" if row["met"] else "missed"


def _ratios(works: Mapping[str, Any]) -> list[str]:
    lines = [
        f"Measured on {'; '.join(dict.fromkeys(place(entry['machine']) for entry in works.values()))}.",
        "",
        "Federated averaging with central DP: Poisson cohorts (pfl: as many clients, drawn at random), local SGD, "
        "clipped and summed deltas, Gaussian noise, server SGD. Both sides start from the same parameters, hold all "
        "data in memory as tensors, and evaluate nothing. Times are per round, compilation apart, in turns; ratios of "
        "medians, with the 10–90 % range over turns. pfl runs in one process with 1 thread and with one per core, of "
        "which the better counts, and again in one process per core.",
    ]
    if not any(entry["ratios"] for entry in works.values()):
        return lines
    lines += [
        "",
        "| work | clients a round × steps × batch | pfl / dpjax | measured | 10–90 % | target | |",
        "|---|---|---|---:|---:|---:|---|",
    ]
    for name, entry in works.items():
        shape = f"{entry['cohort']} × {entry['local_steps']} × {entry['batch']}"
        for row in entry["ratios"].values():
            target, verdict = (f"≥ {row['target']:g}", _verdict(row)) if "met" in row else ("", "")
            cells = (TITLES[name], shape, row["peer"], f"{row['value']:.1f}", f"{row['p10']:.1f}–{row['p90']:.1f}")
            lines.append(f"| {' | '.join((*cells, target, verdict))} |")
    return lines


def _work(entry: Mapping[str, Any]) -> list[str]:
    title = f"**{TITLES[entry['work']]}**, {entry['parameters']:,} parameters, {entry['clients']:,} clients"
    if "deviation" in entry:
        title += f"; without chance, one update of pfl's is {entry['deviation']:.0e} away from ours, relatively"
    after = f"after {entry['training_rounds']} rounds"
    lines = [
        f"{title}.",
        "",
        f"| contestant | rounds / s | ms | 10–90 % | compile s | accuracy {after} | loss |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, row in entry["contestants"].items():
        if "median_ms" not in row:
            lines.append(f"| {name} | {row['error'].replace('|', '/')} | | | | | |")
            continue
        spread = f"{row['p10_ms']:.2f}–{row['p90_ms']:.2f}"
        compiled = f"{row['compile_s']:.1f}" if "compile_s" in row else "—"
        learnt = f"{row['accuracy']:.3f}", f"{row['loss']:.3f}"
        cells = (name, f"{1e3 / row['median_ms']:.2f}", f"{row['median_ms']:.2f}", spread, compiled, *learnt)
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _scaling(found: Mapping[str, Any]) -> list[str]:
    rows = found["rows"]
    lines = [
        f"**Scaling**, MLP 64-128-10, dpjax alone, {found['rows_each']} rows a client out of {found['data_rows']:,} "
        f"that clients share; on {place(found['machine'])}.",
        "",
        "| population | clients a round | ms a round | 10–90 % | ms a client | compile s | peak memory MiB |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        spread = f"{row['p10_ms']:.2f}–{row['p90_ms']:.2f}"
        each = f"{row['median_ms'] / row['cohort']:.4f}"
        sizes = f"{row['clients']:,}", f"{row['cohort']:,}", f"{row['median_ms']:.2f}"
        lines.append(f"| {' | '.join((*sizes, spread, each, f'{row["compile_s"]:.1f}', f'{row["peak_mib"]:.0f}'))} |")
    return [*lines, "", *(f"{claim['text']}: {_verdict(claim)}." for claim in claims(rows))]


def claims(rows: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What the table should show: linear in clients, flat in the population."""
    out: list[dict[str, Any]] = []
    most = max(row["clients"] for row in rows)
    cohorts = sorted((row for row in rows if row["clients"] == most), key=lambda row: row["cohort"])
    shared = min(row["cohort"] for row in rows if row["clients"] < most) if len(cohorts) < len(rows) else 0
    populations = sorted((row for row in rows if row["cohort"] == shared), key=lambda row: row["clients"])
    if len(cohorts) > 2:  # the smallest cohort pays for what a round costs by itself
        one, many = (row["median_ms"] / row["cohort"] for row in (cohorts[1], cohorts[-1]))
        text = f"A client in a cohort of {cohorts[-1]['cohort']:,} costs {many / one:.2f} × one in a cohort of "
        text += f"{cohorts[1]['cohort']:,} (at most {LINEAR:g})"
        out.append({"text": text, "value": many / one, "met": many / one <= LINEAR})
    if len(populations) > 1:
        few, all_of = populations[0], populations[-1]
        value = all_of["median_ms"] / few["median_ms"]
        text = f"A round out of {all_of['clients']:,} clients costs {value:.2f} × one out of {few['clients']:,} "
        text += f"(at most {FLAT:g})"
        out.append({"text": text, "value": value, "met": value <= FLAT})
    return out
