"""A command that is asked to end while it is still being imported: one line and its status, as nothing has begun yet.

What is imported may drop an interrupt, or answer it with an error of its own: numpy and jaxlib do. So it is not raised.
"""

import os
import signal
import sys
from types import FrameType

from dpjax.cli.stopping import ASKING

_BEFORE = {signal.SIGINT: signal.default_int_handler, **dict.fromkeys(ASKING, signal.SIG_DFL)}


def begin() -> None:
    """From now on Ctrl-C, SIGTERM and SIGHUP end the process at once; not those that are heard or ignored already."""
    for number, usual in _BEFORE.items():
        if signal.getsignal(number) == usual:
            signal.signal(number, _end)


def over() -> None:
    """From now on Ctrl-C raises KeyboardInterrupt and the others end the process, as ever."""
    for number, usual in _BEFORE.items():
        if signal.getsignal(number) is _end:
            signal.signal(number, usual)


def done() -> None:
    """The process ends, and all is said: what would end it changes nothing any more."""
    for number, usual in _BEFORE.items():
        if signal.getsignal(number) in (_end, usual):
            signal.signal(number, signal.SIG_IGN)


def _end(number: int, frame: FrameType | None) -> None:
    said = b"interrupted: nothing had begun; run the same command again.\n"
    os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, said)
    os._exit(128 + number)
