"""Rewrite what the docs take from code and from runs: tables, a drawing, and the quickstart's own table and figures.

python docs/regenerate.py                     # what comes from code, benchmarks/results or paper/results; the drawing
python docs/regenerate.py results/quickstart  # and the quickstart's own table and figures, from a finished run
python docs/regenerate.py leaderboard         # and the leaderboard's figures, from paper/results
"""

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS))
from adding import adding_table  # noqa: E402  scripts beside this one
from house import draw_house, floors_table  # noqa: E402

RESULTS = DOCS.parent / "benchmarks/results"
STEP_TIME = RESULTS / "step_time.md"
MEASURED = ("compile_time", "federated_rounds", "calibration", "sweep", "noise", "cnn_layout")
MEASURED += ("secure_aggregation", "homomorphic", "million_clients", "ledger")
FIGURES = {
    "privacy_utility_curve.png": "quickstart_curve.png",
    "epsilon_clip_heatmap.png": "quickstart_heatmap.png",
    "accuracy_by_clients.png": "quickstart_clients.png",
}


def columns() -> str:
    """The columns of the results table."""
    from dpjax.results import COLUMNS

    rows = [f"| `{c.name}` | {c.dtype} | {c.unit} | {c.meaning} |" for c in COLUMNS]
    return "\n".join(["| column | type | unit | meaning |", "|---|---|---|---|", *rows])


def fields() -> str:
    """The fields of the config."""
    from experiments.fields import describe

    rows = [f"| `{name}` | {_default(value)} | {kind} | {meaning} |" for name, value, kind, meaning in describe()]
    return "\n".join(["| field | default | sweeping it | meaning |", "|---|---|---|---|", *rows])


def _default(value: object) -> str:
    return "*empty*" if value == "" else f"`{'null' if value is None else value}`"


def curve() -> str:
    """The best point of each ε in the quickstart's table, as the tutorial has it."""
    header, rule, *rows, note = re.findall(
        r"^[|δ].*$", block_in((DOCS / "tutorial.md").read_text(encoding="utf-8"), "quickstart"), re.MULTILINE
    )
    names = [cell.strip() for cell in header.strip("|").split("|")]
    kept = [names.index(name) for name in ("ε", "clip norm", "noise mult.", "test accuracy", "test loss")]
    lines = [header, rule, *(row.replace("**", "") for row in rows if "**" in row)]
    picked = ["| " + " | ".join(line.strip("|").split("|")[i].strip() for i in kept) + " |" for line in lines]
    said = note.replace("the best of each ε (bold) is chosen", "these are the best of each ε, chosen")
    said = re.sub(r" †: [^.]*\.", "", said)  # of a column that is not kept
    return "\n".join(picked) + f"\n\n{said}"


def quickstart(folder: Path) -> str:
    """The quickstart's table of central training."""
    from dpjax.results.sheet import sheets
    from dpjax.results.show import to_markdown
    from dpjax.results.table import load

    return to_markdown(sheets(load(folder))[:1])


MINILM = {
    "model_type": "bert",
    "vocab_size": 30_522,
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 1_536,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
}
TUNINGS = {
    "head": "the new head; every text is embedded once and kept, so that a grid takes seconds",
    "bitfit": "all biases, but those of keys, whose gradient is always zero",
    "prompt": "vectors in front of the text: `tuning.length`",
    "prefix": "keys and values in every layer: `tuning.length`",
    "lora": "low-rank matrices beside some dense layers: `tuning.rank`, `alpha`, `targets`",
    "dora": "the same, and the length of each output of the sum",
    "ia3": "vectors that scale keys, values and what the MLP hides",
    "last": "the last layers: `tuning.last_layers`",
    "full": "everything",
}


def tunings() -> str:
    """How many numbers each way of tuning trains in MiniLM with two classes."""
    import jax

    from dpjax.models.transformers import Head, from_hub_config
    from dpjax.models.tuning import fine_tune, fresh_parameters
    from dpjax.models.tuning_methods import Method

    arch = from_hub_config(MINILM)
    body = fresh_parameters(arch, jax.random.key(0))
    rows = [
        f"| `{name}` | {fine_tune(arch, body, Head('classify', 2), Method(name)).num_trained:,} | {meaning} |"
        for name, meaning in TUNINGS.items()
    ]
    return "\n".join(["| `tuning=` | trained in MiniLM | |", "|---|---:|---|", *rows])


def step_time() -> str:
    """What the step-time benchmark begins with: how it was measured, and its ratios."""
    if not STEP_TIME.exists():
        return "Not measured yet: `python -m benchmarks.step_time` writes the table that belongs here."
    text = STEP_TIME.read_text(encoding="utf-8")
    rows = [match.end() for match in re.finditer(r"^\| .*\n(?=\n|\Z)", text, re.MULTILINE)]
    return text[: rows[0]].strip()


def names() -> str:
    """What ``dpjax`` itself exports, stage by stage of a run, with the first sentence of each docstring."""
    import dpjax

    parts = []
    for stage, modules in dpjax.STAGES.items():
        rows = [f"**{stage.capitalize()}**", "", "| name | |", "|---|---|"]
        for module, exported in modules.items():
            for name in exported.split():
                summary = (getattr(dpjax, name).__doc__ or "").strip().partition("\n")[0]
                summary = summary.replace("``", "`").replace("|", "\\|")
                rows.append(f"| [`{name}`][dpjax.{module}.{name}] | {summary} |")
        parts.append("\n".join(rows))
    return "\n\n".join(parts)


def measured(name: str) -> Callable[[], str]:
    """The content of ``benchmarks/results/name.md`` without its title."""

    def content() -> str:
        text = (RESULTS / f"{name}.md").read_text(encoding="utf-8")
        return re.sub(r"\A# .*\n", "", text).strip()

    return content


# Block name → the page that holds it and what it says.
BLOCKS = {
    "columns": ("concepts/results.md", columns),
    "fields": ("concepts/sweeps.md", fields),
    "tunings": ("concepts/language-models.md", tunings),
    "families": ("concepts/language-models.md", measured("families")),
    "language_speed": ("concepts/language-models.md", measured("language_speed")),
    "language_memory": ("concepts/language-models.md", measured("language_memory")),
    "step_time": ("concepts/bookkeeping.md", step_time),
    "names": ("reference/index.md", names),
    "floors": ("architecture.md", floors_table),
    "adding": ("how-to/add-kind.md", adding_table),
    "ratios": ("benchmarks.md", step_time),
    "curve": ("index.md", curve),
    "best": ("../README.md", curve),
    "first_run": ("../README.md", measured("first_run")),
    "first_hour": ("first-hour.md", measured("first_hour")),
    "sharding": ("how-to/devices.md", measured("sharding")),
    "big_tables": ("concepts/results.md", measured("big_tables")),
    "kills": ("concepts/faults.md", measured("kills")),
    "keeping": ("concepts/faults.md", measured("keeping")),
    "past_one_machine": ("how-to/clusters.md", measured("past_one_machine")),
    "deployed_hospitals": ("tutorial-deploy.md", measured("deployed_hospitals")),
    "stored_units": ("how-to/larger-than-memory.md", measured("stored_units")),
    **{name: ("benchmarks.md", measured(name)) for name in MEASURED},
}


def block_in(page: str, name: str) -> str:
    """What a page has between ``<!-- generated: name -->`` and ``<!-- end -->``."""
    found = re.search(rf"<!-- generated: {name} -->\n(.*?)<!-- end -->", page, re.DOTALL)
    if found is None:
        raise SystemExit(f"there is no block <!-- generated: {name} --> ... <!-- end --> in the page")
    return found[1].strip()


def _replace(page: Path, name: str, content: str) -> None:
    text = page.read_text(encoding="utf-8")
    block_in(text, name)
    start = f"<!-- generated: {name} -->\n"
    head, rest = text.split(start, 1)
    tail = rest.split("<!-- end -->", 1)[1]
    page.write_text(f"{head}{start}\n{content}\n\n<!-- end -->{tail}", encoding="utf-8")


DATA, BACK, SAVED = "#0072B2", "#D55E00", "#009E73"  # told apart without colour by shape and line style too


def draw_taps(path: Path) -> None:
    """A two-layer network with a tap behind every place where a parameter enters."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(10, 4.6))
    axes.set(xlim=(0, 20), ylim=(-5.0, 4.2), aspect="equal")
    axes.axis("off")
    track, back = 0.9, -1.6  # heights of the forward and of the backward pass

    def box(
        x: float, y: float, text: str, width: float = 1.5, colour: str = "black", height: float = 0.9, **style: Any
    ) -> None:
        corner = (x - width / 2, y - height / 2)
        axes.add_patch(plt.Rectangle(corner, width, height, facecolor="white", edgecolor=colour, zorder=3, **style))
        axes.text(x, y, text, ha="center", va="center", zorder=4)

    def arrow(start: tuple[float, float], end: tuple[float, float], colour: str = "black", line: str = "-") -> None:
        style = {"arrowstyle": "-|>", "color": colour, "linestyle": line, "shrinkA": 0, "shrinkB": 0, "lw": 1.3}
        axes.annotate("", end, start, arrowprops=style, zorder=2)

    # Forwards: operations, the parameters that enter them, and a tap behind each.
    axes.text(0.35, track, "$x$", ha="center", va="center", fontsize=13)
    places = [(3.0, "dot", "$W$", 1), (6.9, "add", "$b$", 2), (14.0, "dot", "$V$", 3)]
    for x, operation, parameter, number in places:
        box(x, track, operation)
        box(x, 3.1, parameter, 1.1, DATA, linewidth=2)
        arrow((x, 2.65), (x, track + 0.45), DATA)
        tap = x + 1.85
        axes.add_patch(plt.Circle((tap, track), 0.32, facecolor="white", edgecolor=BACK, linewidth=2, zorder=3))
        axes.text(tap, track, "+", ha="center", va="center", color=BACK, fontsize=14, zorder=4)
        axes.text(tap, track + 1.25, f"tap {number} = 0", ha="center", va="center", color=BACK)
        arrow((tap, track + 0.98), (tap, track + 0.32), BACK)
        arrow((x + 0.75, track), (tap - 0.32, track))
        # Backwards: the cotangent that arrives at the tap.
        axes.plot([tap, tap], [track - 0.32, back], color=BACK, linestyle=":", linewidth=1.6)
        axes.add_patch(plt.Circle((tap, back), 0.42, facecolor="white", edgecolor=BACK, linewidth=2, zorder=3))
        axes.text(tap, back, rf"$\delta_{number}$", ha="center", va="center", color=BACK, zorder=4)
    box(10.65, track, "gelu")
    box(18.6, track, "loss")
    for start, end in ((0.65, 2.25), (5.17, 6.15), (9.07, 9.9), (11.4, 13.25), (16.17, 17.85)):
        arrow((start, track), (end, track))
    for start, end in ((18.6, 16.27), (15.43, 9.17), (8.33, 5.27)):
        arrow((start, back), (end, back), BACK, "--")
    axes.plot([18.6, 18.6], [track - 0.45, back], color=BACK, linestyle="--", linewidth=1.3)
    axes.text(12.3, back + 0.2, "one backward pass", ha="center", va="bottom", color=BACK)

    # What is saved: the operand that met the parameter.
    for x, name in ((1.3, "$x$"), (12.2, "$h$")):
        axes.plot(x, track, marker="s", markersize=9, color=SAVED, zorder=5)
        axes.text(x, track - 0.45, f"saved {name}", ha="center", va="top", color=SAVED)

    # What each place gives.
    axes.text(0.1, -4.2, "a unit's\ngradient", ha="left", va="center")
    for tap, text in (
        (4.85, r"$W:\ \sum_s x_s \otimes \delta_{1,s}$"),
        (8.75, r"$b:\ \sum_s \delta_{2,s}$"),
        (15.85, r"$V:\ \sum_s h_s \otimes \delta_{3,s}$"),
    ):
        box(tap, -4.2, text, 3.6, height=1.3)
        arrow((tap, back - 0.42), (tap, -3.55), BACK)
    figure.savefig(path, dpi=160, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)


PROFILE = "cpu"
"""Whose results the pages of the leaderboard and of the published numbers show."""


def leaderboard_pages() -> dict[str, str]:
    """File name → Markdown of the folder ``benchmark``, from the table of results that git keeps."""
    from experiments.leaderboard import declare, pages
    from paper import gather

    frame: Any = gather.read(PROFILE)
    reported = frame[frame["stage"] == "reported"]
    return pages.pages(reported, PROFILE, declare.tasks(), declare.methods())


def published_page() -> str:
    """Published numbers beside ours."""
    from paper import gather
    from paper.accounting import accounting_rows
    from paper.tables import accounting_table, to_markdown, training_table
    from paper.training import training_rows

    frame: Any = gather.read(PROFILE)
    trained = training_table(training_rows(frame[frame["stage"] == "study"]))
    exact = accounting_table(accounting_rows())
    return f"""<!-- Generated by docs/regenerate.py from paper/results/{PROFILE}.parquet; do not edit. -->

# Published numbers, computed again

`make paper PROFILE=cpu` makes these tables; `make paper-data PROFILE=cpu` fetches what it reads.

## Trained

{trained.caption} Each recipe is a config, `experiments/conf/experiment/published_*.yaml`: model, noise, cohorts
and steps are those of the paper. Where its data could not be had, the last column says what stood in; then the
difference says more about the data than about the recipe: rows of *other data* are no check of a published
accuracy. Of what was *not run* that column says what it would take.

{to_markdown(trained)}

## Accounting and auditing

{exact.caption} Each row is a function of `paper/accounting.py`, which has its mechanism in full: rows 1 to 15
stand there in this order, and rows 16 to 23 of the table above in `paper/training.py` and `paper/language.py`.
*RDP* without more takes
the orders 1.1, 1.2, ..., 10.9, 12, 13, ..., 63 of TensorFlow Privacy and the tighter conversion to ε; *old
conversion* is that of Abadi et al. (`rdp_epsilon(..., conversion="classic")`), of the same orders in rows 2 and
3, and of 2, 3, ..., 32 in rows 1 and 10. Other orders give other digits: `dpjax epsilon` searches all real
ones. Where ours is below a published Rényi ε at the same orders, the cause is that dp-accounting rounds up at
fractional orders, and dpjax integrates.

{to_markdown(exact)}
"""


def _leaderboard_figures() -> None:
    from experiments.leaderboard import declare, pages
    from paper import gather

    frame: Any = gather.read(PROFILE)
    pages.figures(frame[frame["stage"] == "reported"], declare.tasks(), declare.methods(), DOCS / "images")


def _own_figure(folder: Path) -> None:
    """The one of docs/how-to/paper-figures.md."""
    from dpjax.results import load
    from experiments import plots

    look: Any = {"width": "column", "title": False, "seeds": True}
    figure = plots.curve(load(folder), "epsilon", "test_auroc", "clip_norm", select="unit=example", **look)
    plots.save(figure, [DOCS / "images/own_figure.png"])


def main() -> None:
    """Rewrite the blocks, the leaderboard's pages and the drawing, and what an argument asks for."""
    for name, text in (leaderboard_pages() | {"published.md": published_page()}).items():
        (DOCS / "benchmark" / name).write_text(text, encoding="utf-8")
    if len(sys.argv) > 1 and sys.argv[1] != "leaderboard":  # first: other blocks read it
        _replace(DOCS / "tutorial.md", "quickstart", quickstart(Path(sys.argv[1])))
    for name, (page, content) in BLOCKS.items():
        _replace(DOCS / page, name, content())
    draw_taps(DOCS / "images/taps.png")
    draw_house(DOCS / "images/house.png")
    if sys.argv[1:] == ["leaderboard"]:
        _leaderboard_figures()
    elif len(sys.argv) > 1:
        folder = Path(sys.argv[1])
        for source, target in FIGURES.items():
            shutil.copyfile(folder / "figures" / source, DOCS / "images" / target)
        _own_figure(folder)


if __name__ == "__main__":
    main()
