"""What asks a run to end, Ctrl-C or a signal, heard where Python or an import would lose it."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

from dpjax.cli.stopping import ASKING, Stopped, raise_stopped


@contextmanager
def held() -> Iterator[None]:
    """Within it what asks the run to end waits, and comes at its end: for imports that would drop it, as JAX's."""
    came: list[int] = []
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        numbers = (signal.SIGINT, *ASKING)
        before = {n: signal.getsignal(n) for n in numbers if callable(signal.getsignal(n))}
    for number in before:
        signal.signal(number, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])


class Interrupts:
    """Remembers what asked the run to end, so that ``check`` can raise it again.

    Python drops an exception that is raised in a callback, and JAX has one in every garbage collection: a sweep of
    long jobs would go on to its end as if nothing had been said.
    """

    def __init__(self) -> None:
        self._asked: int | None = None
        self._report = sys.unraisablehook
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            ours = (signal.default_int_handler, raise_stopped)
            numbers = (signal.SIGINT, *ASKING)
            self._before = {n: signal.getsignal(n) for n in numbers if signal.getsignal(n) in ours}
        for number in self._before:
            signal.signal(number, self._hear)
        if self._before:
            sys.unraisablehook, self._report = self._keep_quiet, sys.unraisablehook
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            if signal.getsignal(number) == self._hear:
                signal.signal(number, handler)
        if self._before:
            sys.unraisablehook = self._report
            self._before = {}

    def check(self) -> None:
        """Raise what was asked for and lost.

        Raises:
          Stopped: a signal asked the run to end.
        """
        if self._asked is not None:
            raise Stopped(self._asked)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self._asked = number
        raise Stopped(number)

    def _keep_quiet(self, lost: Any) -> None:
        # Python would print a traceback of what it drops; this one is not dropped.
        if not issubclass(lost.exc_type, KeyboardInterrupt):
            self._report(lost)
