"""Griffe extension: docstrings as they are written, which suits ``help()``, in the form that mkdocstrings reads."""

import re
import textwrap
from typing import Any

from griffe import Extension, Object

_GUARANTEES = re.compile(r"^((?:Formal g|G)uarantees): +(.+?)(?=\n\s*\n|\Z)", re.DOTALL | re.MULTILINE)
_EXAMPLE = re.compile(r"^Example:$", re.MULTILINE)
_BARE_EXAMPLE = re.compile(r"^>>> .+(?:\n.+)*", re.MULTILINE)
_ARGUMENTS = re.compile(r"^(?:Args|Attributes):\n(?:(?: .*)?\n)*", re.MULTILINE)
_TOGETHER = re.compile(r"^  ((?:\*{0,2}\w+, )+\*{0,2}\w+): (.+\n(?:    .*\n)*)", re.MULTILINE)


class Conventions(Extension):
    """Changes each docstring before it is parsed."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Guarantees are a box, an example is code, and arguments that share a line get one each."""
        if obj.docstring is not None:
            value = _GUARANTEES.sub(_boxed, f"{obj.docstring.value}\n")
            value = _BARE_EXAMPLE.sub(lambda code: "Examples:\n" + textwrap.indent(code[0], "  "), value)
            value = _EXAMPLE.sub("Examples:", value)
            obj.docstring.value = _ARGUMENTS.sub(lambda section: _TOGETHER.sub(_apart, section[0]), value)


def _boxed(match: re.Match[str]) -> str:
    return "\n".join([f"{match[1]}:", *(f"  {line.strip()}" for line in match[2].splitlines())])


def _apart(match: re.Match[str]) -> str:
    return "".join(f"  {name}: {match[2]}" for name in match[1].split(", "))
