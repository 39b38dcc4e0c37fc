"""What server and clients say to each other, whatever carries it; and how each says that it will not."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np
from jaxtyping import PyTree

Value = int | float | str | bytes | list[int] | list[str] | list[bytes]

PROTOCOL = 1
"""Of these letters; a party with another does not answer."""


class Letter(NamedTuple):
    """One message, either way.

    Attributes:
      kind: ``hello``, ``train``, ``shares``, ``upload``, ``open`` or ``done``; an answer has its question's kind, or is
        ``refused`` with ``why``.
      step: round of the run.
      says: numbers, words and bytes by name.
      arrays: parameters, or a client's vector, leaf by leaf.
    """

    kind: str
    step: int
    says: Mapping[str, Any] = {}
    arrays: Sequence[np.ndarray] = ()

    @property
    def size(self) -> int:
        """Bytes of what it says, without what a network adds."""
        return sum(x.nbytes for x in self.arrays) + sum(_size(value) for value in self.says.values())


class LetterError(ValueError):
    """A letter that does not say what it should: one sentence."""


def refused(to: Letter, why: str) -> Letter:
    """The answer of who will not."""
    return Letter("refused", to.step, {"why": why[:500]})


def asked(letter: Letter, name: str, kind: type | tuple[type, ...], each: type | None = None) -> Any:
    """What a letter says under a name.

    Args:
      letter: from outside.
      name: of the value.
      kind: what it must be.
      each: what the members of a list must be.

    Raises:
      LetterError: it is missing, or of another kind.
    """
    value = letter.says.get(name)
    good = isinstance(value, kind) and not (isinstance(value, bool) and kind is int)
    if each is not None:
        good = isinstance(value, list) and all(isinstance(part, each) for part in value)
    if not good:
        raise LetterError(f"a letter of kind {letter.kind} says no {name}.")
    return value


def signed_part(letter: Letter, number: int) -> bytes:
    """What the server signs of a letter to a client: all of it, and to whom.

    Args:
      letter: with or without its signature.
      number: of the client.
    """
    hashed = hashlib.sha256(b"dpjax letter ")
    says = {name: _plain(value) for name, value in letter.says.items() if name != "signed"}
    head = [letter.kind, letter.step, number, says, [(x.shape, str(x.dtype)) for x in letter.arrays]]
    hashed.update(json.dumps(head, sort_keys=True).encode())
    for x in letter.arrays:
        hashed.update(np.ascontiguousarray(x).tobytes())
    return hashed.digest()


def _plain(value: Value) -> Any:
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return f"bytes {value.hex()}" if isinstance(value, bytes) else value


def packed(tree: PyTree) -> list[np.ndarray]:
    """The leaves of a tree as arrays that can travel."""
    return [np.asarray(x) for x in jax.tree.leaves(jax.device_get(tree))]


def unpacked(arrays: Sequence[np.ndarray], like: PyTree) -> PyTree:
    """The tree of which these are the leaves.

    Args:
      arrays: from outside.
      like: tree of the shapes and dtypes that they must have.

    Raises:
      LetterError: they are not of these shapes.
    """
    leaves, structure = jax.tree.flatten(like)
    shapes = [(tuple(x.shape), str(x.dtype)) for x in leaves]
    sent = [(tuple(x.shape), str(x.dtype)) for x in arrays]
    if sent != shapes:
        first = next((pair for pair in zip(sent, shapes, strict=False) if pair[0] != pair[1]), None)
        what = f"{len(sent)} arrays for {len(shapes)}" if first is None else f"{first[0]} for {first[1]}"
        raise LetterError(f"arrays are not of the model's shapes: {what}.")
    return jax.tree.unflatten(structure, list(arrays))


class Post(Protocol):
    """What carries letters between the server and the plan's clients, who are known by their numbers."""

    def present(self) -> set[int]:
        """Who is connected now."""
        ...

    def send(self, letters: Mapping[int, Letter]) -> None:
        """Letters on their way; a later one to the same client takes the place of one that it has not answered."""
        ...

    def collect(self, numbers: set[int], seconds: float) -> dict[int, Letter]:
        """The answers of these clients, once all are there or the time is over."""
        ...

    def late(self) -> list[tuple[int, Letter]]:
        """Answers that came after their time, since the last call."""
        ...

    def strangers(self) -> dict[str, str]:
        """Who tried to take part and may not: its key → what became of it."""
        ...


def _size(value: Value) -> int:
    if isinstance(value, list):
        return sum(_size(part) for part in value)
    return len(value.encode() if isinstance(value, str) else value) if isinstance(value, str | bytes) else 8
