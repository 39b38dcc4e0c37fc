"""`dpjax deploy` over a real Flower: SuperLink, SuperNodes and clients as processes on this machine, over TLS."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ENVIRONMENT = ROOT / ".flower"
COMMON = (
    "data=digits", "model=logistic", "federated=fedavg", "federated.num_clients=4", "federated.clients_per_round=4",
    "optimizer.sampling=fixed_size", "optimizer.learning_rate=1", "optimizer.momentum=0", "federated.local_steps=2",
    "federated.client_learning_rate=0.1",
)  # fmt: skip


@pytest.fixture(scope="module")
def python():
    """The Python of an environment with Flower, which can't be in this one: see pyproject.toml."""
    uv = os.environ.get("UV") or shutil.which("uv") or str(Path(sys.executable).parent / "uv")
    made = subprocess.run(
        [uv, "sync", "--quiet", "--extra", "flower", "--no-dev", "--compile-bytecode", "--python", sys.executable],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
        | {"UV_PROJECT_ENVIRONMENT": str(ENVIRONMENT)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"an environment with Flower can't be made: {made.stderr[-300:]}")
    return ENVIRONMENT / "bin" / "python"


class Federation:
    """A rehearsal's processes; all of them end with the block."""

    def __init__(self, python: Path, folder: Path, *overrides: str) -> None:
        self.python, self.folder = python, folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.processes: dict[str, subprocess.Popen] = {}
        said = self.dpjax("rehearse", str(folder), *COMMON, *overrides)
        assert said.returncode == 0, said.stderr
        self.names = sorted(path.parent.name for path in folder.glob("*/rows.parquet"))

    def dpjax(self, *words: str, timeout: float = 120) -> subprocess.CompletedProcess:
        command = [str(self.python.parent / "dpjax"), "deploy", *words]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False)

    def start(self, name: str, *words: str) -> None:
        log = (self.folder / f"{name}.txt").open("ab")
        self.processes[name] = subprocess.Popen(
            [str(self.python.parent / words[0]), *words[1:]],
            cwd=ROOT,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def server(self, *words: str) -> None:
        where = self.folder / "server"
        self.start(
            "server", "dpjax", "deploy", "server", f"{self.folder / 'plan.yaml'}", "--key", f"{where / 'coordinator'}",
            "--certificates", f"{where}", "--rows", f"{where / 'test.parquet'}", "--out", f"{self.folder / 'run'}",
            "--port", f"{self.port}", *words,
        )  # fmt: skip

    def client_words(self, name: str, ca: Path | None = None) -> list[str]:
        mine = self.folder / name
        return [
            f"{self.folder / 'plan.yaml'}", "--key", f"{mine / 'key'}", "--rows", f"{mine / 'rows.parquet'}", "--ca",
            f"{ca or self.folder / 'ca.pem'}", "--state", f"{mine / 'state'}", "--out", f"{mine / 'model'}", "--server",
            f"127.0.0.1:{self.port}",
        ]  # fmt: skip

    def client(self, name: str, what: str | None = None) -> None:
        if what is None:
            self.start(name, "dpjax", "deploy", "client", *self.client_words(name))
        else:
            self.start(name, "python", str(ROOT / "tests" / "misbehaving_client.py"), what, *self.client_words(name))

    def wait(self, name: str, seconds: float = 240) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.processes[name].wait(seconds)
        return self.said(name)

    def said(self, name: str) -> str:
        return (self.folder / f"{name}.txt").read_text()

    def until(self, name: str, text: str, seconds: float = 120) -> None:
        ends = time.monotonic() + seconds
        while text not in self.said(name):
            assert time.monotonic() < ends, f"{name} never said {text!r}: {self.said(name)[-2000:]}"
            assert self.processes[name].poll() is None, f"{name} ended: {self.said(name)[-2000:]}"
            time.sleep(0.2)

    def accounts(self) -> dict:
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
        subprocess.run(["pkill", "-9", "-f", str(self.folder)], check=False)


def test_processes_over_tls_are_the_simulation_and_a_stranger_is_not_let_in(python, tmp_path):
    noise = ("privacy.epsilon=8", "privacy.delta=0.01", "privacy.clip_norm=0.5", "optimizer.num_steps=2")
    with Federation(python, tmp_path / "four", *noise) as four:
        four.server("--seconds", "30")
        four.until("server", "listening")
        stranger = tmp_path / "stranger"
        assert four.dpjax("key", str(stranger)).returncode == 0
        four.start(
            "stranger", "flower-supernode", "--superlink", f"127.0.0.1:{four.port}", "--root-certificates",
            str(four.folder / "ca.pem"), "--auth-supernode-private-key", str(stranger), "--isolation", "process",
            "--port", str(four.port + 1), "--max-retries", "2",
        )  # fmt: skip
        other = tmp_path / "other"
        assert four.dpjax("certificates", str(other), "127.0.0.1").returncode == 0
        wrong = four.dpjax("client", *four.client_words(four.names[0], other / "ca.pem"), "--wait", "1")
        assert wrong.returncode == 1
        assert re.search(
            r"error: --wait 1: the server at \S+ is not known to --ca .*; ask the coordinator", wrong.stderr
        )
        for name in four.names:
            four.client(name)
        server = four.wait("server")
        assert "round 2: 4 clients (2 of 2)" in server, server[-3000:]
        for name in four.names:
            assert "done: (ε=8 PLD" in four.wait(name, 30)
            assert (four.folder / name / "model" / "trained.safetensors").is_file()
            sent = json.loads((four.folder / name / "state" / "sent.json").read_text())
            assert sent["rounds"] == [0, 1]
        compared = four.dpjax("compare", str(four.folder / "plan.yaml"), str(four.folder / "run"))
        assert compared.returncode == 0, compared.stderr
        assert float(re.search(r"difference of a parameter: (\S+)", compared.stdout)[1]) < 1e-5
        assert "the same sentence" in compared.stdout
        told = four.accounts()
        assert all(each["answered"] == 2 for each in told["clients"].values())
        (what,) = told["strangers"].values()
        assert "not let in" in what
        assert "a stranger, key" in server


def test_covered_rounds_go_on_without_who_vanishes_and_who_is_late(python, tmp_path):
    secure = ("privacy.epsilon=inf", "privacy.clip_norm=0.5", "federated.aggregation=secure", "optimizer.num_steps=3")
    with Federation(python, tmp_path / "four", *secure) as four:
        four.server("--seconds", "12")
        four.until("server", "listening")
        names = four.names
        four.client(names[0])
        four.client(names[1])
        four.client(names[2], "late")
        four.client(names[3], "vanishes")
        server = four.wait("server", 300)
        assert "(3 of 3)" in server, server[-3000:]
        told = four.accounts()["clients"]
        assert [told[name]["answered"] for name in names[:2]] == [3, 3]
        assert told[names[2]]["late"] >= 1
        assert told[names[2]]["answered"] < 3
        assert told[names[3]]["answered"] == 1
        assert told[names[3]]["missed"] >= 1
        row = json.loads((four.folder / "run" / "result.json").read_text())["rows"][0]
        assert row["aborted_count"] == 0
        assert row["dropped_count"] == sum(each["asked"] - each["answered"] for each in told.values())


def test_one_that_sends_nan_and_one_that_lies_about_its_size_and_a_server_that_is_killed(python, tmp_path):
    sizes = ("privacy.epsilon=inf", "federated.partition=quantity", "federated.weights=sizes", "optimizer.num_steps=4")
    with Federation(python, tmp_path / "four", *sizes) as four:
        names = four.names
        four.client(names[0])
        four.client(names[1])
        four.client(names[2], "nan")
        four.client(names[3], "size")
        four.server("--seconds", "20", "--least", "3")
        four.until("server", "(1 of 4)")
        os.killpg(four.processes["server"].pid, signal.SIGKILL)
        subprocess.run(["pkill", "-9", "-f", f"port {four.port}"], check=False)  # its SuperLink, as of a dead machine
        time.sleep(1)
        four.server("--seconds", "20", "--least", "3")
        server = four.wait("server", 300)
        assert "going on after round" in server
        assert "(4 of 4)" in server, server[-3000:]
        told = four.accounts()["clients"]
        assert told[names[0]]["answered"] >= 3
        assert told[names[2]]["not_finite"] >= 3
        assert told[names[3]]["answered"] == 0
        assert any("says that it has 1000000 rows" in why for why in told[names[3]]["refused"])
        row = json.loads((four.folder / "run" / "result.json").read_text())["rows"][0]
        assert row["rejected_count"] == told[names[2]]["not_finite"]
        assert row["diverged"] is False
