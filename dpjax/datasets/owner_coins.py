"""Coins of many owners at once: the numbers that a NumPy generator of each one's own gives, without making any."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float64, Int

_HALF = np.uint64(32)
_LOW = np.uint64(2**32 - 1)
_LONG = 256
"""Rows above which an owner gets a generator of NumPy's, in a call of its own."""
_MULTIPLIER = 0x2360ED051FC65DA44385DF649FCCF645

Wide = tuple[np.ndarray, np.ndarray]
"""128-bit numbers: high and low halves, ``uint64``."""


def owner_coins(
    seed: int, owners: Int[np.ndarray, "owners"], counts: Int[np.ndarray, "owners"]
) -> Float64[np.ndarray, "coins"]:
    """As many uniform numbers for each owner as it has rows, by a generator of its own.

    Formal guarantees: an owner's numbers follow from ``seed``, its number and its count alone. They are those of
    ``np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(owner % 2**64,))).random(count)``: SeedSequence's
    hash and PCG64, both of which NumPy keeps as they are, computed here for all owners side by side.

    Args:
      seed: at least 0, of any size.
      owners: ``[owners]`` whole numbers.
      counts: ``[owners]`` how many numbers each gets, at least 1.

    Returns:
      ``[sum of counts]`` in [0, 1): those of the first owner, then of the second, and so on.

    Example:
      >>> own = np.random.default_rng(np.random.SeedSequence(0, spawn_key=(7,)))
      >>> bool((owner_coins(0, np.array([3, 7]), np.array([1, 2]))[1:] == own.random(2)).all())
      True
    """
    out = np.empty(counts.sum())
    starts = np.cumsum(counts) - counts
    names = owners.astype(np.uint64)  # of those below 0 the two's complement, as keys are not negative
    for k in np.flatnonzero(counts > _LONG):
        own = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(int(names[k]),)))
        out[starts[k] : starts[k] + counts[k]] = own.random(counts[k])
    order = np.argsort(-counts, kind="stable")  # of those with more rows fewer and fewer are left
    order = order[counts[order] <= _LONG]
    wide = (names[order] >> _HALF) > 0
    for some in order[wide], order[~wide]:  # a word more or less is another hash
        for turn, coins in enumerate(_walk(_states(seed, names[some]), -counts[some])):
            out[starts[some[: len(coins)]] + turn] = coins
    return out


def _states(seed: int, names: np.ndarray) -> tuple[Wide, Wide]:
    """State and increment of PCG64 with ``SeedSequence(seed, spawn_key=(name,))``; names of one or two words alike."""
    words = [seed >> shift & 0xFFFFFFFF for shift in range(0, max(seed.bit_length(), 1), 32)]
    words += [0] * (4 - len(words))
    keys = [np.full(len(names), word, np.uint32) for word in words]
    keys += [(names & _LOW).astype(np.uint32)]
    if (names >> _HALF).any():
        keys += [(names >> _HALF).astype(np.uint32)]
    hashed = _hash(0x43B0D7E5, 0x931E8875)
    pool = [next(hashed)(key) for key in keys[:4]]
    for source in range(4):
        for target in range(4):
            if source != target:
                pool[target] = _mix(pool[target], next(hashed)(pool[source]))
    for key in keys[4:]:
        for target in range(4):
            pool[target] = _mix(pool[target], next(hashed)(key))
    hashed = _hash(0x8B51F9DD, 0x58F38DED)
    half = [next(hashed)(pool[number % 4]).astype(np.uint64) for number in range(8)]
    begin_high, begin_low, walk_high, walk_low = (half[k] | half[k + 1] << _HALF for k in range(0, 8, 2))
    one = np.uint64(1)
    increment = (walk_high << one | walk_low >> np.uint64(63), walk_low << one | one)
    begun = _add(increment, (begin_high, begin_low))  # the first step is from 0
    return _add(_times(begun), increment), increment


class _Hash:
    """One use of SeedSequence's hash, whose multiplier is another each time."""

    def __init__(self, before: int, after: int):
        self._before, self._after = np.uint32(before), np.uint32(after)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        mixed = (values ^ self._before) * self._after
        return mixed ^ mixed >> np.uint32(16)


def _hash(constant: int, factor: int) -> Iterator[_Hash]:
    while True:
        after = constant * factor & 0xFFFFFFFF
        yield _Hash(constant, after)
        constant = after


def _mix(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    mixed = one * np.uint32(0xCA01F9DD) - other * np.uint32(0x4973F715)
    return mixed ^ mixed >> np.uint32(16)


def _walk(started: tuple[Wide, Wide], fewer: np.ndarray) -> Iterator[np.ndarray]:
    """The next number of every owner that has not got all, whose negated counts ascend."""
    state, increment = started
    for turn in range(-int(fewer.min(initial=0))):
        left = int(np.searchsorted(fewer, -turn))
        increment = (increment[0][:left], increment[1][:left])
        state = _add(_times((state[0][:left], state[1][:left])), increment)
        turned, by = state[0] ^ state[1], state[0] >> np.uint64(58)
        bits = turned >> by | turned << (np.uint64(64) - by & np.uint64(63))
        yield (bits >> np.uint64(11)) * 2.0**-53


def _add(one: Wide, other: Wide) -> Wide:
    low = one[1] + other[1]
    return one[0] + other[0] + (low < one[1]), low


def _times(one: Wide) -> Wide:
    """By PCG64's multiplier, of which only 128 bits are kept."""
    high, low = one
    factor_high, factor_low = np.uint64(_MULTIPLIER >> 64), np.uint64(_MULTIPLIER & 2**64 - 1)
    lower, upper = low & _LOW, low >> _HALF
    by_lower, by_upper = factor_low & _LOW, factor_low >> _HALF
    across = lower * by_upper + (lower * by_lower >> _HALF)
    carried = upper * by_lower + (across & _LOW)
    over = upper * by_upper + (across >> _HALF) + (carried >> _HALF)
    return over + high * factor_low + low * factor_high, low * factor_low
