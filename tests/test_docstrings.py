"""Every exported function speaks one dialect: guarantees, arguments, result, errors and an example that runs."""

import importlib
import inspect
import re

import pytest

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
    "dpjax",  # last: a name is that of the package it is of
)


def exported():
    """Public name → function, each once."""
    functions = {}
    for package in PACKAGES:
        module = importlib.import_module(package)
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isfunction(value) and value not in functions.values():
                functions[f"{package}.{name}"] = value
    return functions


EXPORTED = exported()


def lacking(function):
    """What a docstring lacks of a summary, guarantees, arguments by name, result, errors and an example."""
    text, source = inspect.getdoc(function) or "", inspect.getsource(function)
    parameters = inspect.signature(function).parameters
    sections = dict(re.findall(r"^(Args|Returns|Raises|Example):\n((?:  .*\n?|\n)*)", text + "\n", re.MULTILINE))
    described = re.findall(r"^  (\*{0,2}\w[\w, *]*):", sections.get("Args", ""), re.MULTILINE)
    named = {name.strip(" *") for line in described for name in line.split(",")}
    code = source.replace(function.__doc__ or "", "")
    prose = re.sub(r"^\s*(>>>|\.\.\.).*$", "", text, flags=re.MULTILINE)
    parts = {
        "a summary of one line": re.match(r"\S[^\n]*[.:]\n\n", text),
        "Formal guarantees:": re.search(r"^Formal guarantees:", text, re.MULTILINE),
        "Returns:": "Returns" in sections or function.__annotations__.get("return", ...) is None,
        "Raises:": "Raises" in sections or not re.search(r"^\s+raise \w", code, re.MULTILINE),
        "Example:": ">>>" in sections.get("Example", ""),
        "double backticks": not re.search(r"(?<!`)`[^`\n]+`(?!`)", prose),
    }
    missing = [name for name, there in parts.items() if not there]
    return missing + [f"Args: {name}" for name in parameters if name not in named]


@pytest.mark.parametrize("name", sorted(EXPORTED))
def test_a_docstring_has_every_part(name):
    assert lacking(EXPORTED[name]) == []


def test_functions_of_all_layers_are_looked_at():
    assert {"dpjax.accounting.epsilon", "dpjax.federated.scaffold", "dpjax.make_train"} <= set(EXPORTED)


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
    every = ["a summary of one line", "Formal guarantees:", "Returns:", "Raises:", "Example:", "double backticks"]
    assert lacking(bare) == [*every, "Args: x", "Args: y"]
