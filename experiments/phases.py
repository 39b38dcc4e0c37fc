"""Where no terminal shows what is being done: a line for each phase that takes long, as soon as it does."""

import threading
import time
from collections.abc import Callable

LONG = 2.0
"""Seconds after which a phase is named."""


class Phases:
    """Names the phase at hand once it has lasted, from a thread of its own: what takes long may tell nothing meanwhile.

    Args:
      say: prints a line.
    """

    def __init__(self, say: Callable[[str], object]) -> None:
        self._say = say
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._name, self._began, self._named = "starting", time.perf_counter(), False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to watch."""
        self._began = time.perf_counter()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it; nothing is said afterwards."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def begin(self, name: str) -> None:
        """Another phase, or the same one going on."""
        with self._lock:
            if name != self._name:
                self._name, self._began, self._named = name, time.perf_counter(), False

    def silence(self) -> None:
        """A line of another kind has named the phase."""
        with self._lock:
            self._named = True

    def _watch(self) -> None:
        while not self._ended.wait(min(LONG, 2.0) / 8):
            with self._lock:
                lasted = time.perf_counter() - self._began
                if lasted >= LONG and not self._named:
                    self._named = True
                    self._say(f"{self._name} ...")
