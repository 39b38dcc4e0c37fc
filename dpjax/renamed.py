"""Arguments that have other names: old ones for one release, and those of other libraries; an error says ours."""

from collections.abc import Callable, Container
from functools import wraps


def renamed[**P, R](**now: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator for a function whose arguments are spelt otherwise now: the old names are refused, with the new ones.

    Args:
      **now: old name of an argument → what to write in its place.

    Example:
      >>> @renamed(length="side=...")
      ... def area(*, side): return side**2
      >>> area(length=3)
      Traceback (most recent call last):
      TypeError: area has new spellings: length=... is now side=...; write it so.
    """

    return _refusing(lambda name: f"{name}=... is now {now[name]}", "has new spellings", now)


def called_elsewhere[**P, R](**here: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator for a function whose arguments other libraries call otherwise: their names are answered with ours.

    Args:
      **here: name of an argument elsewhere → what to write in its place, and what differs in meaning.

    Example:
      >>> @called_elsewhere(edge="side=...")
      ... def area(*, side): return side**2
      >>> area(edge=3)
      Traceback (most recent call last):
      TypeError: area has names of its own: edge=... is side=... here; write it so.
    """
    return _refusing(lambda name: f"{name}=... is {here[name]} here", "has names of its own", here)


def _refusing[**P, R](
    said: Callable[[str], str], because: str, names: Container[str]
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    def decorate(fun: Callable[P, R]) -> Callable[P, R]:
        @wraps(fun)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            found = [said(name) for name in kwargs if name in names]
            if found:
                raise TypeError(f"{fun.__name__} {because}: {', '.join(found)}; write it so.")
            return fun(*args, **kwargs)

        return checked

    return decorate
