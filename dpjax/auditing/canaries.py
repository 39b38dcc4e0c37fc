"""Exposure of planted secrets: how much likelier a model finds them than others that were drawn as they were.

An empirical figure of one attack on one run, and NOT a bound: a small one proves nothing, a large one shows a leak.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from dpjax.ranges import WholeRange

_LISTED = """
acorn amber anchor apple arrow autumn bamboo basket beacon berry bishop bottle branch bridge bronze bucket butter
cactus candle canyon carpet castle cedar cherry circle clover copper coral cotton crystal dagger desert dolphin
dragon eagle ember engine falcon feather fiddle forest garden ginger glacier goblet hammer harbor hazel helmet honey
island ivory jacket jasper jungle kettle ladder lantern lemon linen lizard magnet maple marble
"""
WORDS: tuple[str, ...] = tuple(_LISTED.split())
"""What ``@`` in a form becomes: 64 words, 6 bits each."""


class Canaries(NamedTuple):
    """Texts with secrets in them, and others of the same form that nobody plants.

    Attributes:
      planted: one a secret.
      others: drawn in the same way, none of them planted; with one of ``planted`` they are what it is ranked among.
    """

    planted: tuple[str, ...]
    others: tuple[str, ...]


def make_canaries(form: str, number: int, candidates: int, seed: int) -> Canaries:
    """Draws secrets in a form, and others to compare them with.

    Formal guarantees: all are different, and are drawn uniformly from what the form can be. They depend on the
    arguments alone.

    Args:
      form: a text in which ``#`` becomes a random digit and ``@`` a random word of ``WORDS``.
      number: of secrets that are planted, at least 1.
      candidates: size of the set that a secret is ranked in, itself included; at least 2.
      seed: of the draws.

    Returns:
      ``number`` planted texts and ``candidates − 1`` others.

    Raises:
      ValueError: the form has too few blanks for so many to differ, by a factor of ten.

    Example:
      >>> make_canaries("My code is ####.", 2, 3, 0)
      Canaries(planted=('My code is 3948.', 'My code is 4063.'), others=('My code is 3977.', 'My code is 6741.'))
    """
    number = WholeRange("a figure is of one secret at least", least=1).known("number", number)
    candidates = WholeRange("a rank needs two", least=2).known("candidates", candidates)
    room = 10 ** form.count("#") * len(WORDS) ** form.count("@")
    wanted = number + candidates - 1
    if room < 10 * wanted:
        raise ValueError(
            f"form={form!r} can be {room:,} texts, too few for {wanted:,} that are drawn; put in more # (digits) or @ "
            "(words)"
        )
    source = np.random.default_rng([seed, 0x0CA9A21E])
    drawn: dict[str, None] = {}
    while len(drawn) < wanted:
        blanks = {"#": lambda: str(source.integers(10)), "@": lambda: WORDS[source.integers(len(WORDS))]}
        drawn.setdefault("".join(blanks[each]() if each in blanks else each for each in form))
    texts = tuple(drawn)
    return Canaries(texts[:number], texts[number:])


def ranks(secrets: Float[np.ndarray, "secrets"], others: Float[np.ndarray, "others"]) -> Float[np.ndarray, "secrets"]:
    """The place of each secret among itself and the others, by how likely a model finds them; 1 is the likeliest.

    Formal guarantees: between 1 and ``len(others) + 1``. Ties count half, so that a model that finds all alike is not
    said to know any. What is not finite is the least likely.

    Args:
      secrets: negative log-likelihood of each secret's text, in any unit; small is likely.
      others: of the texts that nobody planted.

    Returns:
      ``[secrets]`` places, float; a half where a tie is split.

    Example:
      >>> ranks(np.array([1.0, 3.0, 9.0]), np.array([2.0, 3.0, 5.0])).tolist()
      [1.0, 2.5, 4.0]
    """
    mine, theirs = (np.where(np.isfinite(each), each, np.inf) for each in (secrets, others))
    below = (theirs[None, :] < mine[:, None]).sum(1)
    ties = (theirs[None, :] == mine[:, None]).sum(1)
    return 1.0 + below + ties / 2


def exposure(
    secrets: Float[np.ndarray, "secrets"], others: Float[np.ndarray, "others"]
) -> Float[np.ndarray, "secrets"]:
    """log₂|R| − log₂ rank of each secret among the candidates R: itself and the others.

    Formal guarantees: between 0 and log₂|R|, which is where a secret is the likeliest of all. It is an empirical figure
    and NOT a bound on what leaks: other attacks, other secrets or more candidates may find more. Of a model that knows
    nothing its mean is ``expected_of_chance(|R|)``, near 1.44 bits, and not 0.

    Args:
      secrets: negative log-likelihood of each secret's text.
      others: of the texts that nobody planted.

    Returns:
      ``[secrets]`` bits.

    Example:
      >>> exposure(np.array([1.0, 6.0]), np.array([2.0, 3.0, 5.0])).tolist()
      [2.0, 0.0]

    References:
      Carlini et al., The Secret Sharer, 2019 (https://arxiv.org/abs/1802.08232).
    """
    return math.log2(len(others) + 1) - np.log2(ranks(secrets, others))


def expected_of_chance(candidates: int) -> float:
    """Mean exposure, in bits, of a secret that the model has never seen: its rank is uniform.

    It is log₂ n − (1/n) Σ log₂ r = (n ln n − ln n!) / (n ln 2), which grows to 1/ln 2 = 1.44.

    Formal guarantees: none of privacy: what chance alone gives, whatever the mechanism.

    Args:
      candidates: n, the secret included.

    Returns:
      Bits.

    Example:
      >>> round(expected_of_chance(2), 3), round(expected_of_chance(1000), 3)
      (0.5, 1.436)
    """
    return (candidates * math.log(candidates) - math.lgamma(candidates + 1)) / (candidates * math.log(2))


def repetitions_of(number: int, repetitions: Sequence[int]) -> Int[np.ndarray, "secrets"]:
    """How often each secret is planted: the choices in turn, so that each has as many secrets, give or take one.

    Args:
      number: of secrets.
      repetitions: the choices, such as (1, 4, 16).

    Example:
      >>> repetitions_of(5, (1, 4)).tolist()
      [1, 4, 1, 4, 1]
    """
    return np.array([repetitions[place % len(repetitions)] for place in range(number)], np.int64)
