"""The side that has JAX: measures what it is asked for. It may run out of memory or hang; the other side goes on."""

import json
import os
import signal
import subprocess
import sys
from importlib import metadata
from typing import Any


def machine() -> dict[str, str]:
    """What is measured on; nothing that names a host or a day."""
    import jax

    from benchmarks.device.memory import device_bytes, gibibytes
    from benchmarks.step_time.measure import machine as processor

    devices = jax.devices()
    facts = {"device": f"{len(devices)} × {devices[0].device_kind}", "memory for programs": gibibytes(device_bytes())}
    facts |= {"platform": " ".join(devices[0].client.platform_version.split())[:80]}
    if jax.default_backend() == "gpu":
        facts["driver"] = _driver()
    facts |= processor(None)
    for name in ("jaxlib", "flax", "optax", "torch", "opacus"):
        try:
            facts[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            facts[name] = "missing"
    return facts


def _driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.split("\n")[0].strip() or "?"
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"


class Server:
    """Keeps the work of the piece at hand, so that its contestants share it."""

    def __init__(self) -> None:
        self.piece = ""
        self.bench: Any = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """A row for a contestant, rows for turns, or facts of the machine."""
        from benchmarks.device.memory import failure

        try:
            return self._answer(request)
        except Exception as error:
            return failure(error)

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        if "machine" in request:
            return machine()
        from benchmarks.device.plan import TURNS
        from benchmarks.device.programs import PROGRAMS
        from benchmarks.device.steps import Bench

        kind, name, small = request["kind"], request["contestant"], request["tiny"]
        if self.piece != request["piece"]:
            if self.bench is not None:
                self.bench.close()
            self.piece, self.bench = "", None  # what the last piece held is freed before the next begins
        if kind in PROGRAMS:
            return PROGRAMS[kind](name, small)
        if self.bench is None:
            self.bench, self.piece = Bench(request["piece"], small), request["piece"]
        return self.bench.turns(request["seconds"]) if name == TURNS else self.bench.row(name)


def serve() -> None:
    """A line of JSON for each; what libraries print goes to standard error."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the other side ends this one, and keeps what there is
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    server = Server()
    for line in sys.stdin:
        print(json.dumps(server.answer(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    serve()
