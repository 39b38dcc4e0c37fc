"""What is exported speaks one dialect: guarantees, arguments, result, errors and an example that runs."""

import ast
import dataclasses
import importlib
import inspect
import re
from pathlib import Path
from typing import NamedTuple

import pytest

import dpjax

PACKAGES = (
    "dpjax.accounting",
    "dpjax.auditing",
    "dpjax.clipping",
    "dpjax.contributions",
    "dpjax.datasets",
    "dpjax.federated",
    "dpjax.models",
    "dpjax.models.pretrained",
    "dpjax.models.transformers",
    "dpjax.results",
    "dpjax.sampling",
    "dpjax.metrics",
    "dpjax.optimizers",
    "dpjax.sweeps",
    "dpjax",  # last: a name is that of the package it is of
)


def public_names(module):
    """What a package lists; of a module that lists nothing, what it defines."""
    own = [name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
    return getattr(module, "__all__", [name for name in own if not name.startswith("_")])


def exported(is_kind):
    """Public name → function or class, each once."""
    found = {}
    for package in PACKAGES:
        module = importlib.import_module(package)
        for name in public_names(module):
            value = getattr(module, name)
            if is_kind(value) and value not in found.values():
                found[f"{package}.{name}"] = value
    return found


EXPORTED = exported(inspect.isfunction)
CLASSES = exported(inspect.isclass)


def sections_of(text):
    """Heading → what is indented below it."""
    headings = "Args|Attributes|Returns|Raises|Example"
    return dict(re.findall(rf"^({headings}):\n((?:  .*\n?|\n)*)", text + "\n", re.MULTILINE))


def items_of(section):
    """The names that a section of arguments or attributes describes."""
    described = re.findall(r"^  (\*{0,2}\w[\w, *]*):", section, re.MULTILINE)
    return {name.strip(" *") for line in described for name in line.split(",")}


def common_parts(text):
    """What functions and classes share: part → whether it is there."""
    prose = re.sub(r"^\s*(>>>|\.\.\.).*$", "", text, flags=re.MULTILINE)
    return {
        "a summary of one line": re.match(r"\S[^\n]*[.:](\n\n|$)", text),
        "double backticks": not re.search(r"(?<!`)`[^`\n]+`(?!`)", prose),
        "Formal guarantees:": not re.search(r"^Guarantee", text, re.MULTILINE),  # the one word for them
    }


def lacking(function):
    """What a docstring lacks of a summary, guarantees, arguments by name, result, errors and an example."""
    text, source = inspect.getdoc(function) or "", inspect.getsource(function)
    parameters = inspect.signature(function).parameters
    sections, code = sections_of(text), source.replace(function.__doc__ or "", "")
    named = items_of(sections.get("Args", ""))
    parts = common_parts(text) | {
        "Formal guarantees:": re.search(r"^Formal guarantees:", text, re.MULTILINE),
        "Returns:": "Returns" in sections or function.__annotations__.get("return", ...) is None,
        "Raises:": "Raises" in sections or not re.search(r"^\s+raise \w", code, re.MULTILINE),
        "Example:": ">>>" in sections.get("Example", ""),
    }
    missing = [name for name, there in parts.items() if not there]
    return missing + [f"Args: {name}" for name in parameters if name not in named]


def lacking_of_class(kind: type):
    """What a class's docstring lacks of a summary and of the fields that it adds to its bases."""
    text = inspect.getdoc(kind) or ""
    sections = sections_of(text)
    named = items_of(sections.get("Args", "") + sections.get("Attributes", ""))
    missing = [name for name, there in common_parts(text).items() if not there]
    fields = [field.name for field in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else ()
    own = [name for name in getattr(kind, "_fields", fields) if name in inspect.get_annotations(kind)]
    return missing + [f"Attributes: {name}" for name in own if name not in named]


@pytest.mark.parametrize("name", sorted(EXPORTED))
def test_a_docstring_has_every_part(name):
    assert lacking(EXPORTED[name]) == []


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_a_class_describes_its_fields(name):
    assert lacking_of_class(CLASSES[name]) == []


def test_functions_of_all_layers_are_looked_at():
    assert {"dpjax.accounting.epsilon", "dpjax.federated.scaffold", "dpjax.make_train"} <= set(EXPORTED)


def test_docstrings_within_speak_the_same_dialect():
    strangers = {}
    for path in sorted(Path(dpjax.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                parts = common_parts(ast.get_docstring(node) or "").items()
                wrong = [part for part, there in parts if not there and part != "a summary of one line"]
                if wrong:
                    strangers[f"{path.name}:{getattr(node, 'lineno', 1)}"] = wrong
    assert strangers == {}


def test_what_lacks_a_part_is_found():
    def whole(x: int) -> int:
        """Sums up.

        Formal guarantees: none.

        Args:
          x: a number.

        Returns:
          Another.

        Example:
          >>> 1
          1
        """
        return x

    def bare(x, y):
        """Sums `x` up"""
        raise ValueError(x + y)

    assert lacking(whole) == []
    every = ["a summary of one line", "double backticks", "Formal guarantees:", "Returns:", "Raises:", "Example:"]
    assert lacking(bare) == [*every, "Args: x", "Args: y"]


def test_what_a_class_lacks_is_found():
    class Pair(NamedTuple):
        """Two of `them`.

        Guarantees nothing.

        Attributes:
          left: the first.
        """

        left: int
        right: int

    assert lacking_of_class(Pair) == ["double backticks", "Formal guarantees:", "Attributes: right"]
