"""Ctrl-C that is heard wherever it comes."""

import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any, Self


class Interrupts:
    """Remembers a Ctrl-C, so that ``check`` can raise it again.

    Python drops an exception that is raised in a callback, and JAX has one in every garbage collection: a sweep of
    long jobs would go on to its end as if nothing had been said.
    """

    def __init__(self) -> None:
        self._asked = False
        self._report = sys.unraisablehook

    def __enter__(self) -> Self:
        in_main_thread = threading.current_thread() is threading.main_thread()
        if in_main_thread and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._hear)
            sys.unraisablehook, self._report = self._keep_quiet, sys.unraisablehook
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if signal.getsignal(signal.SIGINT) == self._hear:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            sys.unraisablehook = self._report

    def check(self) -> None:
        """Raise the KeyboardInterrupt that was asked for and lost."""
        if self._asked:
            raise KeyboardInterrupt

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self._asked = True
        raise KeyboardInterrupt

    def _keep_quiet(self, lost: Any) -> None:
        # Python would print a traceback of what it drops; this one is not dropped.
        if not issubclass(lost.exc_type, KeyboardInterrupt):
            self._report(lost)
