"""The picture of the library, from its own imports: which module stands on which floor, and what it stands on."""

import ast
import importlib.util
import tomllib
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
INK, LINE, GROUND = "#1b1b1b", "#7f8fa6", "#f4f6fa"


class House(NamedTuple):
    """The library's floors.

    Attributes:
      floors: names of its modules, from the top floor down, as the import contract has them.
      uses: module → the modules of lower floors that it imports.
    """

    floors: tuple[tuple[str, ...], ...]
    uses: dict[str, tuple[str, ...]]


@cache
def house() -> House:
    """Read off the import contract, which a test enforces, and the imports themselves."""
    import grimp

    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    layers = next(each["layers"] for each in contracts if each.get("containers") == ["dpjax"])
    named = ([name.strip() for name in layer.split("|")] for layer in layers)
    floors = tuple(tuple(name for name in floor if not name.startswith("_")) for floor in named)
    names = [name for floor in floors for name in floor]
    graph = grimp.build_graph("dpjax", cache_dir=None)

    def imports(one: str, other: str) -> bool:
        importer, imported = f"dpjax.{one}", f"dpjax.{other}"
        return graph.direct_import_exists(importer=importer, imported=imported, as_packages=True)

    uses = {one: tuple(other for other in names if other != one and imports(one, other)) for one in names}
    return House(floors, uses)


def summary(module: str) -> str:
    """The first sentence that a module says of itself."""
    spec = importlib.util.find_spec(f"dpjax.{module}")
    assert spec is not None
    assert spec.origin is not None
    text = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or ""
    return text.splitlines()[0]


def floors_table() -> str:
    """Each floor's modules, in their own words, and what they stand on."""
    plan = house()
    lines = ["| floor | module | what it is | stands on |", "|---|---|---|---|"]
    for number, floor in zip(range(len(plan.floors), 0, -1), plan.floors, strict=True):
        for name in floor:
            below = ", ".join(f"`{used}`" for used in plan.uses[name])
            lines.append(f"| {number} | `{name}` | {summary(name)} | {below} |")
    return "\n".join(lines)


def reduced(uses: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """The arrows without those that follow from others: what a module reaches by way of another is not drawn twice."""

    @cache
    def reach(name: str) -> frozenset[str]:
        return frozenset(uses[name]).union(*(reach(each) for each in uses[name]))

    return {
        name: tuple(used for used in below if not any(used in reach(other) for other in below if other != used))
        for name, below in uses.items()
    }


def draw_house(path: Path) -> None:
    """Floors as rows, modules as boxes, and an arrow to each module that a module needs by itself."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plan = house()
    arrows, height = reduced(plan.uses), len(plan.floors)
    across = _across(plan.floors, arrows)
    figure, axes = plt.subplots(figsize=(13, 1.15 * height))
    axes.set(xlim=(0, 100), ylim=(0, height))
    axes.axis("off")
    centre: dict[str, tuple[float, float]] = {}
    for row, floor in enumerate(plan.floors):
        y = height - row - 0.5
        axes.axhspan(y - 0.42, y + 0.42, color=GROUND if row % 2 else "white", zorder=0)
        axes.text(0.3, y, str(height - row), va="center", color=LINE, fontsize=9)
        for name in floor:
            x, width = across[name], _width(name)
            centre[name] = (x, y)
            box = plt.Rectangle((x - width / 2, y - 0.2), width, 0.4, facecolor="white", edgecolor=INK, zorder=3)
            axes.add_patch(box)
            axes.text(x, y, name, ha="center", va="center", fontsize=9, color=INK, zorder=4)
    for name, below in arrows.items():
        for used in below:
            (x, y), (to_x, to_y) = centre[name], centre[used]
            style = {"arrowstyle": "-|>", "color": LINE, "lw": 0.9, "shrinkA": 0, "shrinkB": 0}
            axes.annotate("", (to_x, to_y + 0.2), (x, y - 0.2), arrowprops=style, zorder=1)
    figure.savefig(path, dpi=150, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)


def _width(name: str) -> float:
    return 0.95 * len(name) + 1.8


def _across(floors: tuple[tuple[str, ...], ...], arrows: dict[str, tuple[str, ...]]) -> dict[str, float]:
    """Where along its floor each module stands: above what it needs, as far as its neighbours leave it room."""
    places: dict[str, float] = {}
    for floor in reversed(floors):
        below = {name: [places[used] for used in arrows[name]] or [50.0] for name in floor}
        order = sorted(floor, key=lambda name: sum(below[name]) / len(below[name]))
        gap = (96 - sum(map(_width, order))) / (len(order) + 1)
        x = 3 + gap
        for name in order:
            places[name] = x + _width(name) / 2
            x += _width(name) + gap
    return places
