"""Ctrl-C that is heard wherever it comes."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Self


class Interrupts:
    """Remembers a Ctrl-C, so that ``check`` can raise it again.

    Python drops an exception that is raised in a callback, and JAX has one in every garbage collection: a sweep of
    long jobs would go on to its end as if nothing had been said.
    """

    def __init__(self) -> None:
        self._asked = False

    def __enter__(self) -> Self:
        in_main_thread = threading.current_thread() is threading.main_thread()
        if in_main_thread and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._hear)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if signal.getsignal(signal.SIGINT) == self._hear:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def check(self) -> None:
        """Raise the KeyboardInterrupt that was asked for and lost."""
        if self._asked:
            raise KeyboardInterrupt

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self._asked = True
        raise KeyboardInterrupt
