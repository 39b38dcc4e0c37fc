"""The picture: every contestant's step time, one panel per work, on a log scale."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.step_time.report import TITLES

FAMILIES = {
    "ordinary": ("#000000", "o", "ordinary JAX"),
    "dpjax": ("#0072B2", "D", "dpjax"),
    "jax_privacy": ("#E69F00", "s", "jax_privacy"),
    "torch": ("#7F7F7F", "v", "ordinary PyTorch"),
    "opacus": ("#CC79A7", "^", "Opacus"),
}
"""Okabe and Ito's colours, which also the colour-blind tell apart, each with a marker of its own."""

LABELS = {
    "ordinary": "ordinary",
    "ordinary+noise": "ordinary + noise",
    "auto": "dpjax auto",
    "jax_privacy": "jax_privacy",
    "jax_privacy im2col": "jax_privacy, im2col model",
    "torch_ordinary": "PyTorch ordinary",
    "opacus_hooks": "Opacus hooks",
    "opacus_ghost": "Opacus ghost",
}


def draw(report: Mapping[str, Any], path: Path) -> None:
    """Medians as dots with the 10–90 % range as a bar; the dashed line is the floor with noise."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.lines import Line2D
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    works = {
        name: {key: row for key, row in entry["contestants"].items() if "median_ms" in row}
        for name, entry in report["works"].items()
    }
    works = {name: rows for name, rows in works.items() if rows}
    if not works:
        return
    heights = [len(rows) for rows in works.values()]
    figure, axes = plt.subplots(
        len(works),
        1,
        figsize=(7.5, 0.27 * sum(heights) + 0.75 * len(works) + 0.5),
        height_ratios=heights,
        squeeze=False,
        layout="constrained",
    )
    used: dict[str, Line2D] = {}
    for axis, (name, rows) in zip(axes[:, 0], works.items(), strict=True):
        labels = [LABELS.get(key, f"dpjax {key}") for key in rows]
        for y, (key, row) in enumerate(rows.items()):
            family = _family(key)
            colour, marker, label = FAMILIES[family]
            axis.plot([row["p10_ms"], row["p90_ms"]], [y, y], color=colour, alpha=0.5, linewidth=2.5)
            axis.plot(row["median_ms"], y, color=colour, marker=marker, linestyle="none", markersize=6)
            ms = row["median_ms"]
            text = f"{ms:,.0f} ms" if ms >= 100 else f"{ms:.3g} ms"
            axis.annotate(
                text,
                (row["p90_ms"], y),
                (6, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},  # the floor's line ends at the words
            )
            used[family] = Line2D([], [], color=colour, marker=marker, linestyle="none", label=label)
        if "ordinary+noise" in rows:
            axis.axvline(rows["ordinary+noise"]["median_ms"], color="#000000", linestyle="--", linewidth=0.8, alpha=0.6)
        low, high = min(r["p10_ms"] for r in rows.values()), max(r["p90_ms"] for r in rows.values())
        axis.set(xscale="log", xlim=(low / 1.3, high * max(1.3, (high / low) ** 0.15)))
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high > 5 * low else (1, 1.5, 2, 3, 4, 5, 7)))
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.tick_params(axis="x", labelsize=8)
        axis.set_yticks(range(len(labels)), labels, fontsize=8)
        axis.set_ylim(len(labels) - 0.4, -0.6)
        axis.set_title(TITLES[name], loc="left", fontsize=9)
        axis.grid(axis="x", which="both", alpha=0.2)
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1, 0].set_xlabel("milliseconds per step (log scale)")
    figure.legend(handles=list(used.values()), loc="outside lower center", ncols=len(used), fontsize=8, frameon=False)
    figure.savefig(path, dpi=160, metadata={"Software": None})
    plt.close(figure)


def _family(contestant: str) -> str:
    return next((family for family in FAMILIES if contestant.startswith(family)), "dpjax")  # engines: any name
