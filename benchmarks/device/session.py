"""A plan carried out within a budget of time: one row after the other, each kept as soon as it is there."""

import math
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from benchmarks.device.plan import TURNS, Piece

Ask = Callable[[dict[str, Any], float], dict[str, Any]]
"""``ask(request, seconds)`` gives the answer; TimeoutError where there is none by then, RuntimeError never."""
TURN_SECONDS = 6.0
"""Of a work's turns, or a third of what is left."""
START_SECONDS = 15.0
"""Until the measuring process has imported JAX and found its device."""


class Report(NamedTuple):
    """What has been found so far.

    Attributes:
      machine: what it was measured on.
      tiny: shapes that say nothing.
      pieces: name → ``title``, ``rows`` (contestant → numbers, or ``error``, or ``skipped``).
    """

    machine: Mapping[str, str]
    tiny: bool
    pieces: dict[str, dict[str, Any]]


class Session:
    """The rows of a plan, asked for in order.

    Args:
      ask: the measuring side.
      keep: called with the report after every row.
      say: called with a line of progress.
      seconds: the budget.
      tiny: small shapes.
      clock: seconds.
    """

    def __init__(
        self,
        ask: Ask,
        keep: Callable[[Report], None],
        say: Callable[[str], None],
        *,
        seconds: float,
        tiny: bool,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._ask, self._keep, self._say, self._clock = ask, keep, say, clock
        self._until = self._end = clock() + seconds
        self._took: list[float] = []  # seconds of each row that was measured
        self._plan: tuple[Piece, ...] = ()
        self._late: dict[str, int] = {}  # piece → rows that there was no time for
        self.report = Report({}, tiny, {})

    @property
    def left(self) -> float:
        """Seconds for the piece at hand: no more than half of all that there are, while others wait."""
        return self._until - self._clock()

    def run(self, plan: Iterable[Piece]) -> Report:
        """All pieces, or as many as there is time for; after Ctrl-C what there is, and the interrupt again."""
        self._plan = plan = tuple(plan)
        try:
            facts = self._asked({"machine": {}}, self.left)  # which takes as long as importing JAX does
            self.report = self.report._replace(machine=facts)
            if "error" in facts:
                self._say(f"nothing is measured: {facts['error']}")
                self._leave(plan, f"Nothing was measured: {facts['error']}", late=self.left <= 0)
                return self.report
            for number, piece in enumerate(plan, 1):
                now = self._clock()
                self._until = self._end if number == len(plan) else now + (self._end - now) / 2
                self._measure(piece)
        except KeyboardInterrupt:
            self._leave(plan, "It was interrupted before.")
            raise
        return self.report

    def _measure(self, piece: Piece) -> None:
        rows: dict[str, dict[str, Any]] = {}
        self.report.pieces[piece.name] = {"title": piece.title, "kind": piece.kind, "rows": rows}
        for name in piece.requests:
            left = self.left
            if left < piece.least:
                late = f"{max(left, 0):.0f} s were left for it, and it takes {piece.least:g} s or more."
                self._say(f"{piece.name}: no {name}{' and what comes after' * (name != piece.requests[-1])}: {late}")
                self._fill(piece, late, late=True)
                break
            if name == TURNS:
                if any("ms" in row for row in rows.values()):
                    self._turns(piece, rows)
                break
            self._say(f"[{left:4.0f} s left] {piece.name}: {name}")
            began = self._clock()
            rows[name] = self._asked(self._request(piece, name), min(piece.most, left))
            took = self._clock() - began
            if "error" in rows[name] and left <= took < piece.most:  # it was given up, and would have had longer
                self._late[piece.name] = self._late.get(piece.name, 0) + 1
            else:
                self._took.append(took)
            self._say(f"  {said(rows[name])}")
            self._keep(self.report)

    def left_out(self) -> str:
        """What there was no time for, how long that takes, and the words that measure it; empty if it was nothing.

        A row takes its least, or as long as those that were measured here did on average.
        """
        late = [piece for piece in self._plan if self._late.get(piece.name)]
        if not late:
            return ""
        usual = sum(self._took) / len(self._took) if self._took else 0.0
        seconds = 0.0
        for piece in reversed(late):  # which has half of what is left while others wait
            cost = len(piece.contestants) * max(piece.least, usual) + TURN_SECONDS * (TURNS in piece.requests)
            seconds = max(2 * cost, cost + seconds) if seconds else cost
        minutes = math.ceil((START_SECONDS + seconds) / 6) / 10
        parts = [
            name if count == len(piece.contestants) else f"{count} of {len(piece.contestants)} rows of {name}"
            for piece in late
            for name, count in [(piece.name, self._late[piece.name])]
        ]
        return (
            f"no time was left for {', '.join(parts)}, which take {minutes:g} minutes or more: run it with "
            f"--only {','.join(piece.name for piece in late)} --minutes {minutes:g}; what was measured stays."
        )

    def _turns(self, piece: Piece, rows: dict[str, dict[str, Any]]) -> None:
        seconds = min(TURN_SECONDS, self.left / 3)
        self._say(f"[{self.left:4.0f} s left] {piece.name}: turns of {seconds:.0f} s")
        again = self._asked(self._request(piece, TURNS) | {"seconds": seconds}, min(piece.most, self.left))
        if "error" in again:
            self._say(f"  no turns: {again['error']}")
            return
        for name, row in again.items():
            rows[name] |= row
        self._keep(self.report)

    def _request(self, piece: Piece, name: str) -> dict[str, Any]:
        return {"piece": piece.name, "kind": piece.kind, "contestant": name, "tiny": self.report.tiny}

    def _asked(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        try:
            return self._ask(request, seconds)
        except TimeoutError:
            return {"error": f"It took longer than the {seconds:.2g} s it had, and was given up."}

    def _leave(self, plan: Iterable[Piece], why: str, *, late: bool = False) -> None:
        for piece in plan:
            self.report.pieces.setdefault(piece.name, {"title": piece.title, "kind": piece.kind, "rows": {}})
            self._fill(piece, why, late=late)

    def _fill(self, piece: Piece, why: str, *, late: bool = False) -> None:
        for name in piece.contestants:
            if name not in self.report.pieces[piece.name]["rows"]:
                self.report.pieces[piece.name]["rows"][name] = {"skipped": why}
                self._late[piece.name] = self._late.get(piece.name, 0) + late
        self._keep(self.report)


def said(row: Mapping[str, Any]) -> str:
    """A row in a few words."""
    for name in ("error", "skipped"):
        if name in row:
            return str(row[name])
    milliseconds = row.get("median_ms", row.get("ms", 0.0))
    compiled = f", compiled in {row['compile_s']:.1f} s" if "compile_s" in row else ""
    return f"{milliseconds:.3f} ms{compiled}"
