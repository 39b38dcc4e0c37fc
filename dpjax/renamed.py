"""Old names of arguments: for one release, an error that says the new spelling."""

from collections.abc import Callable
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

    def decorate(fun: Callable[P, R]) -> Callable[P, R]:
        @wraps(fun)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            old = [f"{name}=... is now {now[name]}" for name in kwargs if name in now]
            if old:
                raise TypeError(f"{fun.__name__} has new spellings: {', '.join(old)}; write it so.")
            return fun(*args, **kwargs)

        return checked

    return decorate
