"""Keys for the coins of a round that no slot throws: one place says which is for what, so that none is used twice."""

from enum import IntEnum

import jax
from jaxtyping import Array, Key


class Purpose(IntEnum):
    """What a side key is for. A number that was given once is never given anew: results would change."""

    ROUNDING = 0
    LOST = 1
    LOST_LATE = 2
    CORRUPTED = 3
    QUANTIZED = 4
    CHOSEN_COORDINATES = 5
    REPORTS = 6
    NOISE_OF_CLIENTS = 7


def side_key(key: Key[Array, ""], purpose: Purpose) -> Key[Array, ""]:
    """A key beside those of the slots, which count up from 0."""
    return jax.random.fold_in(key, 2**32 - 1 - purpose.value)
