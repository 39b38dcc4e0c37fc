"""What asks a process to end: Ctrl-C, and the signals of a scheduler or a closed terminal."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ASKING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
"""What asks a process to end, beside Ctrl-C: SLURM and ``timeout`` send the one, a terminal that closes the other."""


class Stopped(KeyboardInterrupt):
    """A signal that asked the process to end; it ends as after a Ctrl-C.

    Attributes:
      number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def status_of(stop: KeyboardInterrupt) -> int:
    """The exit status that a shell gives a process that a signal ended: 130 after Ctrl-C.

    Args:
      stop: what ended it.

    Example:
      >>> status_of(KeyboardInterrupt()), status_of(Stopped(signal.SIGTERM))
      (130, 143)
    """
    return 128 + int(getattr(stop, "number", signal.SIGINT))


@contextmanager
def heard() -> Iterator[None]:
    """Within it SIGTERM and SIGHUP raise ``Stopped``, unless they are handled or ignored (``nohup``) already."""
    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.SIG_DFL for number in ASKING if signal.getsignal(number) == signal.SIG_DFL}
    for number in before:
        signal.signal(number, raise_stopped)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def raise_stopped(number: int, frame: FrameType | None) -> None:
    """The handler of a signal that asks the process to end.

    Args:
      number: of the signal.
      frame: where it came.

    Raises:
      Stopped: always.
    """
    raise Stopped(number)
