"""What it takes to add a kind: the code files that know each of four that were added, counted in the code."""

import ast
import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent


class Added(NamedTuple):
    """A kind that was added.

    Attributes:
      what: a kind of what it is.
      name: its name for users.
      known_as: what code calls it, as a regular expression.
      most: code files that may know it.
    """

    what: str
    name: str
    known_as: str
    most: int


ADDED = (
    Added("sampler", "optimizer.sampling=balls_in_bins", r"balls_in_bins|BallsInBins", 4),
    Added("client mechanism", "privacy.noise=sphere", r"\bsphere(_\w+)?\b", 4),
    Added("model", "model.name=wide_resnet", r"\bwide_resnet\b|\bresnet\b|WideResNet", 2),
    Added("data set", "data.name=credit", r"\bcredit\b|_credit\b", 2),
)


def code_of(path: Path) -> str:
    """A module without its comments and docstrings, or any other file as it is."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        return re.sub(r"#.*", "", text)
    tree = ast.parse(text)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [part for part in body if not _is_text(part)] or [ast.Pass()]  # type: ignore[attr-defined]
    return ast.unparse(tree)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def files_that_know(kind: Added) -> list[str]:
    """The files of the library and of the experiments whose code names a kind."""
    paths = [path for part in ("dpjax", "experiments") for path in sorted((ROOT / part).rglob("*"))]
    return [
        path.relative_to(ROOT).as_posix()
        for path in paths
        if path.suffix in (".py", ".yaml") and re.search(kind.known_as, code_of(path))
    ]


def adding_table() -> str:
    """Each kind that was added, the most files that may know it, and those that do."""
    lines = ["| kind of | added as | code files | at most | they are |", "|---|---|---:|---:|---|"]
    for kind in ADDED:
        files = files_that_know(kind)
        names = ", ".join(f"`{name}`" for name in files)
        lines.append(f"| {kind.what} | `{kind.name}` | {len(files)} | {kind.most} | {names} |")
    return "\n".join(lines)
