"""Rewrite what the docs take from code and from a run: two tables, and the quickstart's own table and figures.

python docs/regenerate.py                       # the tables that come from code
python docs/regenerate.py results/quickstart    # and the quickstart's own, from a finished run
"""

import re
import shutil
import sys
from pathlib import Path

DOCS = Path(__file__).parent
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
    from experiments.config import describe

    rows = [
        f"| `{name}` | `{'null' if value is None else value}` | {kind} | {meaning} |"
        for name, value, kind, meaning in describe()
    ]
    return "\n".join(["| field | default | sweeping it | meaning |", "|---|---|---|---|", *rows])


def quickstart(folder: Path) -> str:
    """The quickstart's table of central training."""
    from dpjax.results.sheet import sheets
    from dpjax.results.show import to_markdown
    from dpjax.results.table import load

    return to_markdown(sheets(load(folder))[:1])


# Block name → the page that holds it and what it says.
BLOCKS = {"columns": ("concepts/results.md", columns), "fields": ("concepts/sweeps.md", fields)}


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


def main() -> None:
    """Rewrite the blocks, and with a folder the quickstart's table and figures."""
    for name, (page, content) in BLOCKS.items():
        _replace(DOCS / page, name, content())
    if len(sys.argv) > 1:
        folder = Path(sys.argv[1])
        _replace(DOCS / "tutorial.md", "quickstart", quickstart(folder))
        for source, target in FIGURES.items():
            shutil.copyfile(folder / "figures" / source, DOCS / "images" / target)


if __name__ == "__main__":
    main()
