"""The report as JSON and as Markdown, written whole or not at all."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.device.session import Report
from dpjax.keeping import write_whole

COLUMNS = (
    "contestant", "ms", "10–90 %", "× ordinary", "compile s", "temporary MiB", "in all MiB", "high water MiB",
    "deviation", "",
)  # fmt: skip
LABELS = {"auto": "dpjax auto", "opacus_ghost": "Opacus ghost"}


def write(report: Report, folder: Path, name: str) -> None:
    """Both files, as far as it has come: a reader sees all of a report or the one before.

    What was measured on the same machine before, and is not measured anew, stays; a run that measured nothing writes
    nothing where there is something.
    """
    folder.mkdir(parents=True, exist_ok=True)
    before = _read(folder / f"{name}.json")
    if any(map(_measured, before.get("pieces", {}).values())):
        if not any(map(_measured, report.pieces.values())):
            return
        if before.get("machine") == report.machine:
            pieces = {
                each: piece if _measured(piece) or each not in before["pieces"] else before["pieces"][each]
                for each, piece in (before["pieces"] | report.pieces).items()
            }
            report = report._replace(pieces=pieces)
    write_whole(folder / f"{name}.json", (json.dumps(report._asdict(), indent=1) + "\n").encode())
    write_whole(folder / f"{name}.md", markdown(report).encode())


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}


def _measured(piece: Mapping[str, Any]) -> bool:
    return any({"ms", "median_ms"} & row.keys() for row in piece["rows"].values())


def markdown(report: Report) -> str:
    """A table for each piece, below what it was measured on."""
    facts = ", ".join(f"{name} {value}" for name, value in report.machine.items() if name != "error")
    lines = [
        "# On one device",
        "",
        f"Measured on {facts or 'a device that did not answer'}.",
        *(["", "**The shapes of `--tiny`: to see that it runs, not to quote.**"] if report.tiny else []),
        "",
        "A step is one gradient, clipped and noised where the contestant is private, and its SGD update; of a sweep it "
        "is a step of one lane, of a federation a round. Steps are set going one after the other and the last is "
        "waited for; medians of turns, or, without a range, the fastest of a few. *Temporary* is what XLA plans beside "
        "what goes in and comes out, *in all* with that; *high water* is the device's own mark, where it rose. "
        "*Deviation* is the distance of the sum from the microbatch engine's, relatively.",
    ]
    for piece in report.pieces.values():
        lines += ["", f"## {piece['title']}", "", f"| {' | '.join(COLUMNS)} |", "|---|" + "---:|" * 8 + "---|"]
        ordinary = piece["rows"].get("ordinary", {})
        floor = ordinary.get("median_ms", ordinary.get("ms"))
        lines += [_line(name, row, floor) for name, row in piece["rows"].items()]
    return "\n".join([*lines, ""])


def _line(name: str, row: Mapping[str, Any], floor: float | None) -> str:
    label = LABELS.get(name, name)
    reason = row.get("error", row.get("skipped"))
    if reason is not None:
        return f"| {label} {'| ' * 8}| {str(reason).replace('|', '/')} |"
    milliseconds = row.get("median_ms", row.get("ms"))
    cells = [
        label,
        f"{milliseconds:.3f}",
        f"{row['p10_ms']:.3f}–{row['p90_ms']:.3f}" if "p10_ms" in row else "",
        f"{milliseconds / floor:.2f}" if floor else "",
        f"{row['compile_s']:.1f}" if "compile_s" in row else "",
        *(f"{row[what] / 2**20:,.1f}" if what in row else "" for what in ("temp_bytes", "whole_bytes", "peak_bytes")),
        f"{row['deviation']:.0e}" if "deviation" in row else "",
        row.get("note") or (f"{row['microbatch']} examples at once" if row.get("microbatch") else ""),
    ]
    return f"| {' | '.join(cells)} |"
