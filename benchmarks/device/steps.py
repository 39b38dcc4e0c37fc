"""Step times of one work: each contestant compiled, warmed and timed, then all of them in turns."""

import importlib.util
import os
import sys
import time
from pathlib import Path
from typing import Any

import jax

from benchmarks.device.memory import DoesNotFit, device_bytes, failure, gibibytes, peak_bytes, risen
from benchmarks.device.works import TINY, WORKS
from benchmarks.federated_rounds.measure import spread
from benchmarks.step_time.contestants import CONTESTANTS, Variant
from benchmarks.step_time.peers import DEFAULT_PYTHON, PEERS, Worker
from benchmarks.step_time.timing import (
    RATE,
    Built,
    Options,
    Runner,
    build,
    gradient,
    interleave,
    quick_time,
    relative_deviation,
)
from benchmarks.step_time.works import Work

CHOOSES = ("auto", "bookkeeping", "microbatch")
"""Contestants that choose their microbatch; the others take the whole batch, or an eighth where it does not fit."""
REFERENCE = "microbatch"
CHECKED = 50e6
"""Parameters up to which the engines' sums are compared, in float64 on the host."""


def pipelined(built: Built) -> Runner:
    """Steps set going one after the other, the last one waited for: a loop leaves no gap between two either."""

    def run(inner: int) -> float:
        started = time.perf_counter()
        after = None
        for _ in range(inner):
            after = built.start(1.0, RATE)
        jax.block_until_ready(after)
        return (time.perf_counter() - started) / inner * 1e3

    return run


def warm(run: Runner, seconds: float) -> None:
    """Run for so long uncounted: a device's clock takes a moment to rise."""
    started = time.perf_counter()
    run(1)
    while time.perf_counter() - started < seconds:
        run(1)


class Bench:
    """A work and what has been compiled of it.

    Args:
      name: of the work.
      small: the tiny shapes.
    """

    def __init__(self, name: str, small: bool):
        self.work: Work = (TINY if small else WORKS)[name]()
        self.small = small
        self.built: dict[str, Built] = {}
        self.runners: dict[str, Runner] = {}
        self.milliseconds: dict[str, float] = {}
        self.peer: Worker | None = None

    def row(self, name: str) -> dict[str, Any]:
        """One contestant compiled and timed by itself."""
        row = self._peer(name) if name in PEERS else self._ours(name)
        return row | ({"parameters": self.work.parameters} if "ms" in row else {})

    def _ours(self, name: str) -> dict[str, Any]:
        whole, eighth = Variant("plain", None), Variant("plain", max(1, self.work.batch // 8))
        variants = (whole,) if name in CHOOSES or name == "materialize" else (whole, eighth)
        row: dict[str, Any] = {}
        for variant in variants:
            try:
                return self._timed(name, variant)
            except Exception as error:  # whatever an engine or XLA throws, the others go on
                row = failure(error)
            if not row.get("out_of_memory"):
                break
        return row

    def _timed(self, name: str, variant: Variant) -> dict[str, Any]:
        before = peak_bytes()
        built = build(CONTESTANTS[name], self.work, variant)
        if built.whole_bytes > device_bytes():
            raise DoesNotFit(f"It needs {gibibytes(built.whole_bytes)}, and {gibibytes(device_bytes())} are there.")
        run = pipelined(built)
        warm(run, 0 if self.small else 0.5)
        milliseconds = quick_time(run, 1 if self.small else 3)
        self.built[name], self.runners[name], self.milliseconds[name] = built, run, milliseconds
        row = {"ms": milliseconds, "compile_s": built.compile_seconds, "microbatch": variant.microbatch}
        return row | {"temp_bytes": built.temp_bytes, "whole_bytes": built.whole_bytes} | risen(before)

    def _peer(self, name: str) -> dict[str, Any]:
        if self.small:
            return {"error": "Its shapes are fixed, so --tiny leaves it out."}
        python = opacus_python()
        if python is None:
            return {"error": "Opacus is not installed here."}
        device = "cuda" if jax.default_backend() == "gpu" else "cpu"
        self.peer = Worker(python, threads=len(os.sched_getaffinity(0)), device=device)
        try:
            run, parameters = self.peer.prepare(self.work.name, name, self.work.batch)
            warm(run, 0.5)
            self.milliseconds[name] = quick_time(run, 3)
        except RuntimeError as error:
            self.close()
            return failure(error)
        self.runners[name] = run
        note = {} if parameters == self.work.parameters else {"note": f"trains {parameters:,} numbers"}
        return {"ms": self.milliseconds[name]} | note

    def turns(self, seconds: float) -> dict[str, dict[str, Any]]:
        """All contestants again, in an order drawn anew each round; and how far the engines' sums are apart."""
        options = Options(seconds=seconds, least_rounds=1 if self.small else 2, most_rounds=1 if self.small else 100)
        times, failed = interleave(self.runners, self.milliseconds, options)
        rows = {name: spread(values) for name, values in times.items() if name not in failed and values}
        for name in rows:
            rows[name].pop("times_ms")
        self._compare(rows)
        self.close()
        return rows

    def _compare(self, rows: dict[str, dict[str, Any]]) -> None:
        if REFERENCE not in self.built or self.work.parameters > CHECKED:
            return
        reference = gradient(self.built[REFERENCE], self.work)
        for name in rows:
            if name in self.built and CONTESTANTS[name].private and name != REFERENCE:
                rows[name]["deviation"] = relative_deviation(gradient(self.built[name], self.work), reference)

    def close(self) -> None:
        """End the Opacus side."""
        if self.peer is not None:
            self.peer.close()
            self.peer = None


def opacus_python() -> Path | None:
    """The interpreter that has Opacus: this one, or that of ``step_time``."""
    if importlib.util.find_spec("opacus") is not None and importlib.util.find_spec("torch") is not None:
        return Path(sys.executable)
    python = DEFAULT_PYTHON.expanduser()
    return python if python.exists() else None
