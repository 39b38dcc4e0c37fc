"""What the server reads in a client's answer, which may say anything: ``LetterError`` where it does not fit."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import PyTree

from dpjax.federated.aggregation.parties import SHARE_BYTES, Opened
from dpjax.federated.remote import words_of_bytes
from experiments.deploy.letters import Letter, LetterError, asked, unpacked


def vector_in(letter: Letter, like: PyTree) -> PyTree:
    """The vector that a client sent, of the shapes of ``like``."""
    return unpacked(letter.arrays, like)


def boxes_in(letter: Letter, to: set[int]) -> dict[int, bytes]:
    """Slot → shares that a client sealed for it: one for each other of the round's clients, ``to``."""
    of, sealed = asked(letter, "to", list, int), asked(letter, "sealed", list, bytes)
    if len(of) != len(sealed) or len(set(of)) < len(of) or not set(of) <= to or len(of) < len(to) - 1:
        raise LetterError("it sealed shares for others than the round's clients")
    return dict(zip(of, sealed, strict=True))


def words_in(letter: Letter, bits: int, size: int) -> tuple[np.ndarray, bool]:
    """A covered vector of ``size`` ring elements, and whether the client learnt anything finite."""
    words = words_of_bytes(asked(letter, "words", bytes), bits)
    if len(words) != size:
        raise LetterError(f"it sent {len(words)} numbers for the model's {size}")
    return words, asked(letter, "finite", int) != 0


def opened_in(letter: Letter, arrived: list[int], lost: list[int]) -> tuple[Opened, Letter]:
    """One share of each of the round's clients, and the letter, which has keys for the next round."""
    selves, keys = _shares(letter, "selves"), _shares(letter, "keys")
    if set(selves) != set(arrived) or set(keys) != set(lost):
        raise LetterError("it opened other shares than it was asked for")
    return Opened(selves, keys), letter


def _shares(letter: Letter, name: str) -> dict[int, int]:
    of: Sequence[int] = asked(letter, f"{name}_of", list, int)
    shares: Sequence[bytes] = asked(letter, name, list, bytes)
    if len(of) != len(shares) or any(len(share) != SHARE_BYTES for share in shares):
        raise LetterError("the opened shares are not one for each client")
    return {slot: int.from_bytes(share, "big") for slot, share in zip(of, shares, strict=True)}
