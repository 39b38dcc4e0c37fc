"""A rehearsed federation as processes on this machine: SuperLink, SuperNodes, a server, and clients, honest or not."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
ENVIRONMENT = ROOT / ".flower"


class NoFlower(RuntimeError):
    """An environment with Flower can't be made; it says why."""


def flower_python() -> Path:
    """The Python of an environment with Flower, which can't be in the one of developers: see pyproject.toml.

    Raises:
      NoFlower: it can't be made.
    """
    uv = os.environ.get("UV") or shutil.which("uv") or str(Path(sys.executable).parent / "uv")
    words = ["sync", "--quiet", "--extra", "flower", "--no-dev", "--compile-bytecode", "--python", sys.executable]
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    environment |= {"UV_PROJECT_ENVIRONMENT": str(ENVIRONMENT)}
    made = subprocess.run([uv, *words], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    if made.returncode:
        raise NoFlower(f"an environment with Flower can't be made: {made.stderr[-300:]}")
    return ENVIRONMENT / "bin" / "python"


class RealFederation:
    """A rehearsal's processes; all of them end with the block.

    Args:
      python: with Flower.
      folder: of the rehearsal, which is made.
      overrides: its config.
    """

    def __init__(self, python: Path, folder: Path, *overrides: str) -> None:
        self.python, self.folder = python, folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        said = self.dpjax("rehearse", str(folder), *overrides)
        if said.returncode:
            raise RuntimeError(said.stderr)
        self.names = sorted(path.parent.name for path in folder.glob("*/rows.parquet"))

    def dpjax(self, *words: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a command of `dpjax deploy` to its end."""
        command = [str(self.python.parent / "dpjax"), "deploy", *words]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False)

    def start(self, name: str, *words: str) -> None:
        """Start a program of the environment in the background, its words in a log under its name."""
        log = (self.folder / f"{name}.txt").open("ab")
        self.processes[name] = subprocess.Popen(
            [str(self.python.parent / words[0]), *words[1:]],
            cwd=ROOT,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def server(self, *words: str) -> None:
        """Start the server."""
        where = self.folder / "server"
        self.start(
            "server", "dpjax", "deploy", "server", f"{self.folder / 'plan.yaml'}", "--key", f"{where / 'coordinator'}",
            "--certificates", f"{where}", "--rows", f"{where / 'test.parquet'}", "--out", f"{self.folder / 'run'}",
            "--port", f"{self.port}", *words,
        )  # fmt: skip

    def client_words(self, name: str, ca: Path | None = None) -> list[str]:
        """The arguments of a client."""
        mine = self.folder / name
        return [
            f"{self.folder / 'plan.yaml'}", "--key", f"{mine / 'key'}", "--rows", f"{mine / 'rows.parquet'}", "--ca",
            f"{ca or self.folder / 'ca.pem'}", "--state", f"{mine / 'state'}", "--out", f"{mine / 'model'}", "--server",
            f"127.0.0.1:{self.port}",
        ]  # fmt: skip

    def client(self, name: str, what: str | None = None) -> None:
        """Start a client, or one that is honest but for one thing."""
        if what is None:
            self.start(name, "dpjax", "deploy", "client", *self.client_words(name))
        else:
            self.start(name, "python", str(ROOT / "tests" / "misbehaving_client.py"), what, *self.client_words(name))

    def stranger(self, key: Path) -> None:
        """Start a SuperNode under a key that nobody agreed to."""
        self.start(
            "stranger", "flower-supernode", "--superlink", f"127.0.0.1:{self.port}", "--root-certificates",
            str(self.folder / "ca.pem"), "--auth-supernode-private-key", str(key), "--isolation", "process",
            "--port", str(self.port + 1), "--max-retries", "2",
        )  # fmt: skip

    def wait(self, name: str, seconds: float = 240) -> str:
        """What a program said until it ended, or the time was over."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.processes[name].wait(seconds)
        return self.said(name)

    def said(self, name: str) -> str:
        """What a program has said."""
        return (self.folder / f"{name}.txt").read_text()

    def until(self, name: str, text: str, seconds: float = 120) -> None:
        """Wait for words of a program."""
        ends = time.monotonic() + seconds
        while text not in self.said(name):
            if time.monotonic() > ends or self.processes[name].poll() is not None:
                raise RuntimeError(f"{name} never said {text!r}: {self.said(name)[-2000:]}")
            time.sleep(0.2)

    def accounts(self) -> dict[str, Any]:
        """What the server says of its clients."""
        return json.loads((self.folder / "run" / "clients.json").read_text())

    def __enter__(self):
        return self

    def __exit__(self, *error: object) -> None:
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        time.sleep(1)
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        # SuperNodes are in sessions of their own, and one whose client was killed is left.
        subprocess.run(["pkill", "-9", "-f", str(self.folder)], check=False)  # nosec B607 # of PATH
