"""Ctrl-C while a command is still being imported: one word and exit status 130, as nothing has begun yet.

What is imported may drop an interrupt, or answer it with an error of its own: numpy and jaxlib do. So it is not raised.
"""

import os
import signal
import sys
from types import FrameType


def begin() -> None:
    """From now on Ctrl-C ends the process at once; nothing where something else hears it, or it is ignored."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def over() -> None:
    """From now on Ctrl-C raises KeyboardInterrupt, as ever."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def done() -> None:
    """The process ends, and all is said: Ctrl-C changes nothing any more."""
    if signal.getsignal(signal.SIGINT) in (_end, signal.default_int_handler):
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _end(number: int, frame: FrameType | None) -> None:
    os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, b"interrupted\n")
    os._exit(128 + number)
