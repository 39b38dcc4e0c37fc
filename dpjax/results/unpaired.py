"""What keeps a point of a comparison from being a pair: the settings in which the nearest of the other side differs."""

from collections.abc import Sequence
from typing import NamedTuple

from dpjax.results.wording import label


class Candidate(NamedTuple):
    """A point that may be one of a pair.

    Attributes:
      side: that it is of.
      settings: column → the value in words, of what two points of a pair must share.
      seeds: that it was run with.
    """

    side: str
    settings: dict[str, str]
    seeds: frozenset[int]


_MOST = 3


def nearest_sentence(point: Candidate, others: Sequence[Candidate]) -> str:
    """In what the nearest point of another side differs, its and the other's value; empty where there is none.

    Args:
      point: that met no other.
      others: all there are.

    Example:
      >>> mine = Candidate("a", {"unit": "user", "clip_norm": "1"}, frozenset([0, 1]))
      >>> far = Candidate("b", {"unit": "client", "clip_norm": "0.3"}, frozenset([0, 1]))
      >>> near = far._replace(settings={"unit": "client", "clip_norm": "1"})
      >>> nearest_sentence(mine, [mine, far, near])
      'the nearest of b differs in unit (user, client)'
      >>> nearest_sentence(mine, [mine._replace(side="b", seeds=frozenset([1, 2]))])
      'the nearest of b has fewer than two of its seeds (1)'
    """
    found: tuple[int, int, Candidate, list[str]] | None = None
    for other in others:
        if other.side == point.side:
            continue
        apart = [name for name, value in point.settings.items() if other.settings.get(name) != value]
        common = len(point.seeds & other.seeds)
        # Of those that differ in as much, the one with the more common seeds.
        if found is None or (len(apart), -common) < found[:2]:
            found = (len(apart), -common, other, apart)
    if found is None:
        return ""
    count, seeds, other, apart = found
    told = [f"{label(name)} ({point.settings[name]}, {other.settings.get(name, '–')})" for name in apart[:_MOST]]
    more = f" and {count - _MOST} settings more" if count > _MOST else ""
    parts = [f"differs in {', '.join(told)}{more}"] if told else []
    parts += [f"has fewer than two of its seeds ({-seeds})"] if seeds > -2 else []
    return f"the nearest of {other.side} {' and '.join(parts)}" if parts else ""
