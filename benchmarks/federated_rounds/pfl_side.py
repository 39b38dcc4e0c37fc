"""pfl-research, in a process (or one per core) and an environment of its own."""

import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.federated_rounds.works import Work
from benchmarks.step_time.peers import REST, Worker
from benchmarks.step_time.timing import Runner

WORKER = Path(__file__).with_name("pfl_worker.py")
DEFAULT_PYTHON = Path("~/.cache/dpjax/benchmarks/pfl/bin/python")
PACKAGES = ("pfl==0.6.0", "torch")


def install(python: Path) -> None:
    """Create the environment of the pfl side; pfl 0.6 needs a Python below 3.13.

    Raises:
      RuntimeError: uv failed, with what it said.
    """
    base = sys.executable if sys.version_info < (3, 13) else "3.12"
    for command in (
        ["uv", "venv", "--no-config", "--python", base, str(python.parent.parent)],
        ["uv", "pip", "install", "--no-config", "--python", str(python), *PACKAGES],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command[:3])} failed: {done.stderr.strip()[-1000:]}")


class _Process(Worker):
    """One process of the pfl side; it speaks as the Opacus side of the step-time benchmark does."""

    def __init__(self, python: Path, threads: int, variables: Mapping[str, str]):
        super().__init__(python, threads)
        # pfl asks for the best device at every batch where the variable does not name it.
        settings = [f"{name}={value}" for name, value in {"PFL_PYTORCH_DEVICE": "cpu", **variables}.items()]
        self._command = ["env", *settings, str(python), str(WORKER), "--threads", str(threads)]


class Simulation:
    """A simulation by pfl-research that goes on from request to request.

    Args:
      python: interpreter of its environment.
      threads: of torch, in each process.
      processes: that share every cohort, as pfl's guide to fast simulations has it.
    """

    def __init__(self, python: Path, threads: int, processes: int = 1):
        variables: list[dict[str, str]] = [{}]
        if processes > 1:
            addresses = ",".join(f"localhost:{port}" for port in _free_ports(processes))
            variables = [{"PFL_WORKER_ADDRESSES": addresses, "PFL_WORKER_RANK": str(rank)} for rank in range(processes)]
        self._workers = [_Process(python, threads, each) for each in variables]
        self._pool = ThreadPoolExecutor(processes)

    def ask(self, **request: Any) -> dict[str, Any]:
        """What the first of the processes answers; all are asked.

        Raises:
          RuntimeError: one answered with an error, ended, or did not answer in time.
        """
        try:
            first, *_ = self._pool.map(lambda worker: worker.ask(**request), self._workers)
            return first
        except RuntimeError as error:
            self.close()
            raise RuntimeError(str(error).replace("Opacus", "pfl")) from error

    def prepare(self, work: Work, arrays: Path, sampling: str = "random") -> int:
        """Load a work and run its first round; how many numbers it trains."""
        fields = ("clip_norm", "noise_multiplier", "client_learning_rate", "learning_rate")
        settings = {name: getattr(work.hparams, name) for name in fields}
        settings |= {"work": work.name, "arrays": str(arrays), "cohort": work.cohort, "batch": work.batch}
        settings |= {"epochs": work.epochs, "sampling": sampling, "seed": 0}
        return int(self.ask(prepare=settings)["parameters"])

    def run(self, rounds: int) -> float:
        """Milliseconds per round."""
        return float(self.ask(run={"inner": rounds})["ms"])

    def runner(self, rounds: int) -> Runner:
        """``rounds`` rounds are one step to what takes turns."""

        def run(inner: int) -> float:
            time.sleep(REST)
            milliseconds = self.run(rounds * inner)
            time.sleep(REST)
            return milliseconds

        return run

    def close(self) -> None:
        """End the processes."""
        for worker in self._workers:
            worker.close()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("localhost", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
