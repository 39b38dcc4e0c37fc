"""The two kinds of fields: those that fix a program, and those that it is given."""

from dataclasses import field
from typing import Any


def static(default: Any, meaning: str) -> Any:
    """A field that fixes a shape or a program: each of its values is compiled once."""
    metadata = {"traced": False, "meaning": meaning}
    if isinstance(default, list | dict):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


def traced(default: Any, meaning: str, *, hparam: bool = False) -> Any:
    """A field that one compiled program takes as an argument, or that the program does not see at all.

    Args:
      default: its value if none is given.
      meaning: for help texts and docs.
      hparam: whether it is the field of ``HParams`` that has its name.
    """
    return field(default=default, metadata={"traced": True, "meaning": meaning, "hparam": hparam})
