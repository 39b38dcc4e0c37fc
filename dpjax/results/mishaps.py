"""What went wrong in the steps of runs that ended all the same: counted, and told in one sentence each."""

from collections.abc import Mapping, Sequence
from typing import Any

from dpjax.results.claims import number

COUNTED: tuple[str, ...] = ("overflow_count", "rejected_count", "dropped_count", "aborted_count", "wrapped_count")
"""Columns that count it, each 0 in a run that went well; a point's are summed over its seeds."""


def count_sentences(points: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Column → a sentence on what it counts and what to do, for each that is not 0.

    Formal guarantees: rounds are counted out of those of the points that could abort any.

    Args:
      points: rows of ``summary``, or of a table: a row without ``n`` is one run.

    Example:
      >>> run = {"num_steps": 20, "aborted_count": 15, "dropped_count": 243}
      >>> for sentence in count_sentences([run, {"num_steps": 20, "overflow_count": 0}]).values():
      ...     print(sentence.partition(":")[0])
      243 clients dropped out before their message arrived.
      15 of 20 rounds were aborted and changed nothing
    """
    counts = {name: sum(number(point, name) or 0 for point in points) for name in COUNTED}
    return {name: _sentence(name, count, points) for name, count in counts.items() if count}


def rows_counted(frame: Any) -> list[dict[str, Any]]:
    """Rows of what ``count_sentences`` reads, and of nothing else; none where nothing went wrong.

    Args:
      frame: a table, or what ``summary`` gave.

    Example:
      >>> from dpjax.results.table import frame_of
      >>> rows_counted(frame_of([{"seed": 0, "overflow_count": 0}]))
      []
    """
    if not any((frame[name].fillna(0) != 0).any() for name in COUNTED if name in frame.columns):
        return []
    return frame[[name for name in (*COUNTED, "num_steps", "n") if name in frame.columns]].to_dict("records")


def _sentence(name: str, count: float, points: Sequence[Mapping[str, Any]]) -> str:
    if name == "aborted_count":
        return (
            f"{aborted_rounds(points)} and changed nothing: take more federated.clients_per_round or a lower "
            "federated.threshold."
        )
    one, several = _WORDS[name]
    return f"1 {one}" if count == 1 else f"{count:,.0f} {several}"


def aborted_rounds(points: Sequence[Mapping[str, Any]]) -> str:
    """How many rounds were aborted, out of how many; empty if none was.

    Args:
      points: rows of ``summary``, or of a table.

    Example:
      >>> aborted_rounds([{"num_steps": 10, "n": 3, "aborted_count": 1}])
      '1 of 30 rounds was aborted'
    """
    could = [point for point in points if number(point, "aborted_count") is not None]
    count = sum(number(point, "aborted_count") or 0 for point in could)
    rounds = sum((number(point, "num_steps") or 0) * (number(point, "n") or 1) for point in could)
    return f"{count:.0f} of {rounds:,.0f} rounds {'was' if count == 1 else 'were'} aborted" if count else ""


_WORDS = {
    "overflow_count": (
        "step overflowed its slots: raise the capacity.",
        "steps overflowed their slots: raise the capacity.",
    ),
    "rejected_count": (
        "contribution was not finite and counted as zero: look at the data, or lower the learning rate.",
        "contributions were not finite and counted as zero: look at the data, or lower the learning rate.",
    ),
    "dropped_count": (
        "client dropped out before its message arrived.",
        "clients dropped out before their message arrived.",
    ),
    "wrapped_count": (
        "coordinate of a sum left the ring and came back wrong: raise federated.bits, or lower federated.levels.",
        "coordinates of sums left the ring and came back wrong: raise federated.bits, or lower federated.levels.",
    ),
}
