"""Checks of what a user gives: numbers of any scalar type, never passed over where they are traced, and other types.

Nothing here imports JAX, as accounting uses these checks too; only who has imported JAX can hold a traced value.
"""

import difflib
import inspect
import math
import re
import sys
from collections.abc import Iterable
from typing import Any

_FINITE = "finite and "


def is_traced(value: object) -> bool:
    """Whether a value is known only once a compiled program runs.

    Example:
      >>> import jax
      >>> is_traced(jax.numpy.float32(1)), jax.jit(lambda x: is_traced(x) + 0)(1.0).item()
      (False, 1)
    """
    jax = sys.modules.get("jax")
    return jax is not None and isinstance(value, jax.core.Tracer)


def as_number(value: Any) -> float | None:
    """A known scalar of any type as a Python ``float``; None for what is no number, such as a bool, a string, a vector.

    Example:
      >>> as_number(3), as_number(True), as_number("3")
      (3.0, None, None)
    """
    if isinstance(value, bool | str | bytes) or getattr(value, "shape", ()) != () or _kind(value) in tuple("bcmMOSU"):
        return None
    try:
        return float(value)
    except OverflowError:  # an int beyond every float
        return math.inf if value > 0 else -math.inf
    except (TypeError, ValueError):
        return None


def number(
    name: str,
    value: Any,
    *,
    fix: str,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    finite: bool = True,
) -> Any:
    """A number in its range: a Python ``float`` where it is known, and where it is traced NaN instead of one outside.

    Formal guarantees: what is known and not a number in the range is refused, whatever its type: Python, NumPy, a JAX
    scalar. What is traced can't be refused; outside the range it becomes NaN, so that what is computed with it is NaN
    and not a release with less noise. Where NaN would be lost, as in a comparison, see ``spoilt_by``.

    Args:
      name: of the field.
      value: a scalar: Python, NumPy or JAX number, traced or not; no bool, string or None.
      fix: what to do, the second half of the sentence.
      least, above: lower end, itself allowed or not.
      most, below: upper end, itself allowed or not.
      finite: whether inf is refused. NaN always is.

    Raises:
      ValueError: a known number outside the range, or no scalar number at all.

    Example:
      >>> number("dropout_rate", 0.2, least=0, most=1, fix="it is a share of the cohort")
      0.2
      >>> number("dropout_rate", 2, least=0, most=1, fix="it is a share of the cohort")
      Traceback (most recent call last):
      ValueError: dropout_rate=2 must be in [0, 1]; it is a share of the cohort.
    """
    range_ = _range(least, above, most, below, finite)
    if is_traced(value):
        return _or_nan(name, value, range_, fix, least, above, most, below, finite)
    known = as_number(value)
    if known is None:
        raise ValueError(f"{name}={brief(value)} must be a number {range_}; {fix}.")
    if not _inside(known, least, above, most, below, finite):
        raise ValueError(f"{name}={_shown(value)} must be {range_}; {fix}.")
    return known


def known_number(name: str, value: Any, *, fix: str, **range_: Any) -> float:
    """As ``number``, and what is traced is refused too: for what is accounted, or decides a shape.

    Args:
      name, value, fix, **range_: as of ``number``.

    Raises:
      ValueError: as ``number``, or a traced value.

    Example:
      >>> known_number("delta", 2, above=0, below=1, fix="it is a probability")
      Traceback (most recent call last):
      ValueError: delta=2 must be in (0, 1); it is a probability.
    """
    if is_traced(value):
        raise ValueError(f"{name}={brief(value)} must be a number that is known, no traced one; {fix}.")
    return number(name, value, fix=fix, **range_)


def whole_number(name: str, value: Any, *, fix: str, least: int = 1, most: int | None = None) -> int:
    """A whole number in its range, as a Python ``int``: 1.5 and 2.0 are refused, and so is what is traced.

    Args:
      name: of the field.
      value: a Python, NumPy or JAX integer that is known when the program is made; no bool, string or None.
      fix: what to do, the second half of the sentence.
      least, most: both allowed; no upper end if None.

    Raises:
      ValueError: a number outside the range, one that is not whole, or a traced one.

    Example:
      >>> whole_number("num_steps", 3, fix="give the steps of the run")
      3
      >>> whole_number("num_steps", 1.5, fix="give the steps of the run")
      Traceback (most recent call last):
      ValueError: num_steps=1.5 must be a whole number ≥ 1; give the steps of the run.
    """
    range_ = f"≥ {least}" if most is None else f"from {least} to {most}"
    if is_traced(value):
        raise ValueError(f"{name} is traced but must be a whole number {range_} known when the program is made; {fix}.")
    if isinstance(value, bool) or _kind(value) not in ("i", "u", None):
        raise ValueError(f"{name}={brief(value)} must be a whole number {range_}; {fix}.")
    try:
        known = value.__index__()
    except (AttributeError, TypeError):
        raise ValueError(f"{name}={brief(value)} must be a whole number {range_}; {fix}.") from None
    if known < least or (most is not None and known > most):
        raise ValueError(f"{name}={_shown(known)} must be {range_}; {fix}.")
    return known


def seed_number(name: str, value: Any, *, count: int = 1) -> int:
    """The first of some seeds that follow each other: from 0 to 2³² less their number.

    ``jax.random.key`` folds seeds that are equal modulo 2³² into one key, so that two of them would be one run.

    Args:
      name: of the field.
      value: a whole number.
      count: how many seeds follow from it on.

    Raises:
      ValueError: no whole number, or one outside.

    Example:
      >>> seed_number("seed", 2**32, count=3)
      Traceback (most recent call last):
      ValueError: seed=4294967296 must be from 0 to 4294967293; seeds that are equal modulo 2**32 are one run.
    """
    fix = "seeds that are equal modulo 2**32 are one run"
    return whole_number(name, value, least=0, most=2**32 - count, fix=fix)


def is_whole_number(value: object, *, least: int = 1) -> bool:
    """Whether ``whole_number`` takes it.

    Example:
      >>> [is_whole_number(x) for x in (3, 0, 1.5, True)]
      [True, False, False, False]
    """
    try:
        whole_number("", value, fix="", least=least)
    except ValueError:
        return False
    return True


def one_of(name: str, value: Any, choices: Iterable[str]) -> str:
    """One of some words.

    Raises:
      ValueError: it is none of them.

    Example:
      >>> one_of("accountant", "gpd", ("pld", "rdp"))
      Traceback (most recent call last):
      ValueError: accountant='gpd' is not known; use one of pld, rdp, perhaps 'pld'.
    """
    known = tuple(choices)
    if not isinstance(value, str) or value not in known:
        near = nearest(value, known) if isinstance(value, str) else None
        perhaps = f", perhaps {near!r}" if near else ""
        raise ValueError(f"{name}={brief(value)} is not known; use one of {', '.join(known)}{perhaps}.")
    return value


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """The choice that a misspelt word may mean, whatever its case and its hyphens; None if it is like none of them.

    Example:
      >>> nearest("Add-or-remove", ("zero_out", "add_or_remove_one")), nearest("gdp", ("zero_out",))
      ('add_or_remove_one', None)
    """
    plain = word.lower().replace("-", "_")
    return next(iter(difflib.get_close_matches(plain, list(choices), n=1, cutoff=0.5)), None)


def instance(name: str, value: Any, kinds: type | tuple[type, ...], *, fix: str) -> None:
    """Refuse what is of no such type, before it is asked for attributes that it does not have.

    Args:
      name: of the field.
      value: what was given.
      kinds: the types that it may have.
      fix: what to do, the second half of the sentence.

    Raises:
      TypeError: it has none of them.

    Example:
      >>> instance("steps", "flat", int, fix="count them")
      Traceback (most recent call last):
      TypeError: steps='flat' must be of type int; count them.
    """
    if not isinstance(value, kinds):
        allowed = " or ".join(kind.__name__ for kind in (kinds if isinstance(kinds, tuple) else (kinds,)))
        raise TypeError(f"{name}={brief(value)} must be of type {allowed}; {fix}.")


def function(name: str, value: Any, *, fix: str, takes: int | None = None) -> None:
    """Refuse what can't be called, before it is.

    Args:
      name: of the field.
      value: what was given.
      fix: what to do, the second half of the sentence.
      takes: how many arguments it will be called with; None: any number.

    Raises:
      TypeError: it is no function, or one of other arguments.

    Example:
      >>> function("loss_fn", 3, fix="give loss_fn(params, example, key)")
      Traceback (most recent call last):
      TypeError: loss_fn=3 must be a function; give loss_fn(params, example, key).
    """
    if not callable(value):
        raise TypeError(f"{name}={brief(value)} must be a function; {fix}.")
    if takes is not None and not _takes(value, takes):
        raise TypeError(f"{name} must be called with {takes} arguments, which {brief(value)} is not; {fix}.")


def _takes(value: Any, count: int) -> bool:
    try:
        inspect.signature(value).bind(*range(count))
    except TypeError:
        return False
    except ValueError:  # of a builtin, which does not say
        return True
    return True


def optimizer(name: str, value: Any) -> None:
    """Refuse what is no optax optimizer, such as its name or its learning rate.

    Raises:
      TypeError: it has no ``init`` and ``update`` to call.
    """
    if not (callable(getattr(value, "init", None)) and callable(getattr(value, "update", None))):
        raise TypeError(f"{name}={brief(value)} must be an optax optimizer; make one, such as optax.sgd(0.1).")


def brief(value: object) -> str:
    """A value in one short line of an error message, whatever it is.

    Example:
      >>> brief([1.0] * 100)
      '[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1....'
    """
    return in_one_line(repr(value), 60)


def as_listed(word: str) -> str:
    """A name as it stands in a list: in quotes where its commas would be taken for those of the list.

    Example:
      >>> print(", ".join(map(as_listed, ["East", "County General, Ward 3", 'L"Est; 2'])))
      East, "County General, Ward 3", 'L"Est; 2'
    """
    if not re.search(r"""[,;"]|^'|\band\b""", word):
        return word
    return f"'{word}'" if '"' in word else f'"{word}"'


def in_one_line(text: str, most: int) -> str:
    """Words of another library inside of a sentence: at most so many letters, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 3]}..."


def spoilt_by(tree: Any, *values: Any) -> Any:
    """A tree of arrays, and NaN in its place where a traced value was outside its range.

    For numbers whose NaN would be lost on the way: a comparison with NaN is False, and a coin that never falls.

    Args:
      tree: of floating-point arrays.
      values: what ``number`` gave back.

    Example:
      >>> spoilt_by({"w": 1.0}, 0.5)
      {'w': 1.0}
    """
    traced = [value for value in values if is_traced(value)]
    if not traced:
        return tree
    jax: Any = sys.modules["jax"]
    spoilt = jax.numpy.stack([jax.numpy.isnan(value) for value in traced]).any()
    return jax.tree.map(lambda x: jax.numpy.where(spoilt, jax.numpy.nan, x), tree)


def _shown(value: Any) -> str:
    """The value for an error message; a number too long to read as what it rounds to."""
    return str(value) if not isinstance(value, int) or abs(value) < 10**20 else f"{as_number(value):g}"


def _kind(value: Any) -> str | None:
    """NumPy's letter for the type of an array or of its scalars; None for what is neither."""
    return getattr(getattr(value, "dtype", None), "kind", None)


def _inside(
    value: Any, least: float | None, above: float | None, most: float | None, below: float | None, finite: bool
) -> Any:
    """Whether a number is in the range, by ``&`` alone, which arrays have too; NaN never is."""
    inside = value == value
    for bound, holds in (
        (least, lambda b: value >= b),
        (above, lambda b: value > b),
        (most, lambda b: value <= b),
        (below, lambda b: value < b),
    ):
        if bound is not None:
            inside = inside & holds(bound)
    return inside & (abs(value) < math.inf) if finite else inside


def _or_nan(name: str, value: Any, range_: str, fix: str, *ends: Any) -> Any:
    jax: Any = sys.modules["jax"]
    if value.ndim or not jax.numpy.issubdtype(value.dtype, jax.numpy.number):
        raise ValueError(f"{name} is a traced {value.dtype}{list(value.shape)} but must be a number {range_}; {fix}.")
    if not jax.numpy.issubdtype(value.dtype, jax.numpy.floating):
        value = value.astype(jax.numpy.float32)
    return jax.numpy.where(_inside(value, *ends), value, jax.numpy.nan)


def _range(least: float | None, above: float | None, most: float | None, below: float | None, finite: bool) -> str:
    """The range in words: ``in [0, 1)``, ``finite and > 0``, ``≥ 0``."""
    low, high = least if above is None else above, most if below is None else below
    if low is not None and high is not None:
        return f"in {'[' if above is None else '('}{low:g}, {high:g}{']' if below is None else ')'}"
    lead = _FINITE if finite else ""
    if low is not None:
        return f"{lead}{'≥' if above is None else '>'} {low:g}"
    if high is not None:
        return f"{lead}{'≤' if below is None else '<'} {high:g}"
    return "finite" if finite else "no NaN"
