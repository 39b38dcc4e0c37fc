"""The measuring process, begun anew whenever it is lost, and waited for no longer than there is time."""

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.sides import ROOT, Ended, Side

SERVE = Path(__file__).with_name("serve.py")
MEMORY = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.9"}
"""JAX takes memory as it needs it, so that PyTorch finds some on the same device."""
UNCACHED = {"JAX_ENABLE_COMPILATION_CACHE": "false"}
"""A compile time is that of compiling, not of reading what an earlier run compiled."""
HASTY = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "true"}
"""Whether small shapes run is soon known: most of their time would go into compiling them well."""
BEAT = 2.0
"""Seconds between two signs of life."""


class Measuring:
    """Answers a request within a time.

    Args:
      environment: what is set for the process, where the user has not set it.
    """

    def __init__(self, environment: Mapping[str, str]):
        self._environment = {name: os.environ.get(name, value) for name, value in environment.items()}
        self._side: Side | None = None
        self._piece = ""
        self._worn = False

    def ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        """The answer, or one that says that the process ended.

        Raises:
          TimeoutError: it took longer; the process is ended.
        """
        piece = request.get("piece", "")
        if self._worn and piece != self._piece:
            self.end()  # memory that ran out once is in pieces: the next work gets a process of its own
        self._piece = piece
        if self._side is None:
            self._side, self._worn = Side(ROOT, SERVE, ROOT, self._environment), False
        started = time.monotonic()
        try:
            self._side.tell(request)
            answer = self._heard(self._side, started, seconds)
        except TimeoutError:
            self.end()
            raise
        except (Ended, BrokenPipeError):
            self.end()
            return {"error": "Its process ended without a word: it may have run out of the machine's memory."}
        self._worn |= bool(answer.get("out_of_memory"))
        return answer

    def _heard(self, side: Side, started: float, seconds: float) -> dict[str, Any]:
        while True:
            waited = time.monotonic() - started
            try:
                return side.hear(max(0.0, min(BEAT, seconds - waited)))
            except TimeoutError:
                if waited >= seconds:
                    raise
                if sys.stderr.isatty():
                    print(f"\r  … {time.monotonic() - started:.0f} s ", end="\r", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Let the process go, whatever it does."""
        side, self._side = self._side, None
        if side is not None:
            side.kill()
