"""PyTorch and Opacus, in a process and an environment of their own."""

import contextlib
import json
import os
import selectors
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.step_time.contestants import Variant
from benchmarks.step_time.timing import Options, Picked, Runner, one_line, quick_time
from benchmarks.step_time.works import Work

PEERS = ("torch_ordinary", "opacus_hooks", "opacus_ghost")
WORKER = Path(__file__).with_name("opacus_worker.py")
DEFAULT_PYTHON = Path("~/.cache/dpjax/benchmarks/opacus/bin/python")
REST = 0.02
"""Seconds between the two sides: threads of the one that just ran spin for a moment before they sleep."""


def install(python: Path) -> None:
    """Create the environment of the Opacus side, with CPU torch where the index has it.

    Raises:
      RuntimeError: uv failed, with what it said.
    """
    environment = python.parent.parent
    for command in (
        ["uv", "venv", "--python", sys.executable, str(environment)],
        ["uv", "pip", "install", "--python", str(python), "opacus", "torch"],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command[:3])} failed: {done.stderr.strip()[-1000:]}")


class Worker:
    """The Opacus side, started when first asked; on ``cpu`` or ``cuda``."""

    def __init__(self, python: Path, threads: int, timeout: float = 600.0, device: str = "cpu"):
        self._command = [str(python), str(WORKER), "--threads", str(threads), "--device", device]
        self._timeout = timeout
        self._process: subprocess.Popen[str] | None = None

    def ask(self, **request: Any) -> dict[str, Any]:
        """One answer for one request.

        Raises:
          RuntimeError: it answered with an error, ended, or did not answer in time.
        """
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            with selectors.DefaultSelector() as selector:
                selector.register(process.stdout, selectors.EVENT_READ)
                ready = selector.select(self._timeout)
            line = process.stdout.readline() if ready else ""
        except BrokenPipeError:
            line, ready = "", [None]
        if not line:
            self.close()
            raise RuntimeError("the Opacus side ended" if ready else f"no answer within {self._timeout:g} s")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    def versions(self) -> dict[str, str]:
        """Of torch and opacus."""
        return self.ask(versions={})

    def prepare(self, work: str, contestant: str, microbatch: int) -> tuple[Runner, int]:
        """Build a contestant there, and give what runs it and how many numbers it trains.

        Raises:
          RuntimeError: it cannot be built or run.
        """
        what = {"work": work, "contestant": contestant, "microbatch": microbatch}
        parameters = int(self.ask(prepare=what)["parameters"])

        def run(inner: int) -> float:
            time.sleep(REST)
            milliseconds = float(self.ask(run=what | {"inner": inner})["ms"])
            time.sleep(REST)
            return milliseconds

        return run, parameters

    def pick(self, work: Work, contestant: str, options: Options) -> Picked:
        """Try every microbatch of a work and keep the fastest, as for our side.

        Raises:
          RuntimeError: none of them ran.
        """
        best: Picked | None = None
        tried: list[dict[str, Any]] = []
        for size in work.microbatches:
            entry: dict[str, Any] = {"loss": "plain", "microbatch": size}
            tried.append(entry)
            try:
                run, entry["parameters"] = self.prepare(work.name, contestant, size)
                entry["ms"] = quick_time(run, options.tries)
            except RuntimeError as error:
                entry["error"] = one_line(error)
                continue
            if best is None or entry["ms"] < best.milliseconds:
                best = Picked(Variant("plain", size), run, entry["ms"], None, tried)
        self.close()  # a fresh process holds the picked setting only
        if best is None:
            raise RuntimeError(tried[-1]["error"])
        return best

    def close(self) -> None:
        """End the process; the next request starts another."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(BrokenPipeError):
            if process.stdin is not None:
                process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _start(self) -> subprocess.Popen[str]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            bufsize=1,
            env=environment,
        )
        return self._process
