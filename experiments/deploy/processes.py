"""Flower's own processes, started and ended with the command that needs them: SuperLink, SuperNode, and its CLI."""

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from experiments.config import ConfigError
from experiments.deploy.keys import CA, CERTIFICATE, KEY

_APP = {
    "pyproject.toml": """[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "dpjax-deployed"
version = "1.0.0"
description = "A plan of dpjax: server and clients run what they have installed, and none of this"
license = "Apache-2.0"
dependencies = []

[tool.flwr.app]
publisher = "dpjax"

[tool.flwr.app.components]
serverapp = "dpjax_deployed:server"
clientapp = "dpjax_deployed:client"

[tool.flwr.app.config]
""",
    "dpjax_deployed.py": '''"""What a SuperNode would run that was not started by `dpjax deploy client`: it refuses."""

from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

client = ClientApp()
server = ServerApp()


@client.query()
def refuse(message, context):
    raise RuntimeError("start this client by `dpjax deploy client`, which runs no code that comes by network")
''',
}
"""What is submitted, as Flower starts a run by an app; see ``flower_tasks``."""


_ENDS_WITH_ITS_STARTER = """
import os, signal, sys
if sys.platform == "linux":  # else a client that was killed would leave a SuperNode, which keeps its key connected
    import ctypes
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Started:
    """A process of Flower's, and what it says; it ends with the process that started it."""

    def __init__(self, words: Sequence[str], log: Path, home: Path) -> None:
        self.log = log
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _ENDS_WITH_ITS_STARTER, _script(words[0]), *words[1:]],
                stdout=file,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=environment(home),
                start_new_session=True,
            )

    @property
    def runs(self) -> bool:
        """Whether it is there."""
        return self.process.poll() is None

    @property
    def said(self) -> str:
        """All that it has said."""
        return re.sub(r"\x1b\[[0-9;]*m", "", self.log.read_text(encoding="utf-8", errors="replace"))

    def stop(self) -> None:
        """End it and what it started."""
        for sent, patience in ((signal.SIGTERM, 10), (signal.SIGKILL, 5)):
            if not self.runs:
                break
            try:
                os.killpg(self.process.pid, sent)
                self.process.wait(patience)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue


def environment(home: Path) -> dict[str, str]:
    """What Flower's processes are started with: settings in a folder of their own, and nothing told to its makers."""
    told_nothing = {"FLWR_HOME": str(home), "FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
    return {name: value for name, value in os.environ.items() if not name.startswith("FLWR_")} | told_nothing


@contextmanager
def private_folder() -> Iterator[Path]:
    """A folder for this command's secrets and logs, for its owner alone, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="dpjax-deploy-") as name:
        yield Path(name)


def new_secret(folder: Path) -> Path:
    """A file with a secret that parts of one command on one machine share."""
    path = folder / "secret"
    path.write_bytes(secrets.token_bytes(32))
    path.chmod(0o600)
    return path


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def superlink(folder: Path, certificates: Path, secret: Path, host: str, port: int, log: Path) -> Iterator[Started]:
    """A SuperLink over TLS that knows nobody yet, until the block ends.

    Args:
      folder: private.
      certificates: of the server, see ``keys``.
      secret: by which this command takes its tasks.
      host, port: where it listens.
      log: of what it says.

    Raises:
      ConfigError: it does not come up; the sentence says why.
    """
    _refuse_taken(host, port)
    words = ["flower-superlink", "--isolation", "process", "--enable-supernode-auth"]
    words += ["--ssl-certfile", str(certificates / CERTIFICATE), "--ssl-keyfile", str(certificates / KEY)]
    words += ["--ssl-ca-certfile", str(certificates / CA), "--disable-runtime-dependency-installation"]
    words += ["--superexec-auth-secret-file", str(secret), "--host", host, "--port", str(port)]
    started = Started(words, log, folder)
    try:
        _wait_until_up(started, host, port)
        yield started
    finally:
        started.stop()


@contextmanager
def supernode(
    folder: Path, key: Path, certificate: Path, secret: Path, server: str, port: int, log: Path
) -> Iterator[Started]:
    """A SuperNode that speaks to a SuperLink by TLS under a client's key, until the block ends.

    Args:
      folder: private.
      key: of the client.
      certificate: of the server's authority.
      secret: by which this command takes its tasks.
      server: ``host:port`` of the SuperLink.
      port: of its own Runtime API, on this machine alone.
      log: of what it says.
    """
    words = ["flower-supernode", "--isolation", "process", "--superlink", server]
    words += ["--root-certificates", str(certificate), "--auth-supernode-private-key", str(key)]
    words += ["--superexec-auth-secret-file", str(secret), "--host", "127.0.0.1", "--port", str(port)]
    started = Started(words, log, folder)
    try:
        yield started
    finally:
        started.stop()


def submit(folder: Path, certificates: Path, host: str, port: int, keys: Sequence[str]) -> None:
    """Tell a SuperLink who may connect, and start a run on it.

    Args:
      folder: private; gets the CLI's settings.
      certificates: of the server.
      host, port: where it listens.
      keys: public ones of clients, lines of OpenSSH.

    Raises:
      ConfigError: it refuses.
    """
    reached = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # nosec B104 # compared, not bound
    settings = f'[superlink]\ndefault = "here"\n[superlink.here]\naddress = "{reached}:{port}"\n'
    settings += f'root-certificates = "{(certificates / CA).absolute()}"\n'
    (folder / "config.toml").write_text(settings, encoding="utf-8")
    for number, key in enumerate(keys):
        path = folder / f"client-{number}.pub"
        path.write_text(key + "\n", encoding="utf-8")
    asked = [_cli(folder, "supernode", "register", str(folder / f"client-{n}.pub"), "here") for n in range(len(keys))]
    app = folder / "app"
    app.mkdir(exist_ok=True)
    for name, text in _APP.items():
        (app / name).write_text(text, encoding="utf-8")
    for process in asked:
        _heard(process)
    _heard(_cli(folder, "run", str(app), "here"))


def refused_keys(said: str) -> dict[str, str]:
    """Public keys that a SuperLink has refused → what it did, as its log says.

    Args:
      said: its log.

    Example:
      >>> line = "Attempted to register SuperNode with public key: b'-----BEGIN PUBLIC KEY-----\\\\nMHY\\\\n'"
      >>> list(refused_keys(line))
      ['-----BEGIN PUBLIC KEY-----\\nMHY']
    """
    found = re.findall(r"SuperNode with public key: b'([^']*)'", said)
    return {key.replace("\\n", "\n").strip(): "not let in: its key is not in the plan" for key in found}


def _cli(folder: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [_script("flwr"), *words],
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
    )


def _heard(process: subprocess.Popen[str]) -> None:
    said, _ = process.communicate(timeout=120)
    if process.returncode:
        plain = " ".join(re.sub(r"\x1b\[[0-9;]*m|[│╭╮╰╯─]", "", said).split())
        raise ConfigError(f"Flower's SuperLink refused: {plain[:300]}; is its address one that the certificate names?")


def _script(name: str) -> str:
    """A program of Flower's, beside this Python."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        raise ConfigError(f"{name} is not installed; install the extra: pip install 'dpjax[flower]'.")
    return found


def _refuse_taken(host: str, port: int) -> None:
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            pass
    except OSError as error:
        raise ConfigError(
            f"--host {host} --port {port} can't be listened on ({error.strerror}); take another."
        ) from error


def _wait_until_up(started: Started, host: str, port: int, seconds: float = 90) -> None:
    reached = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # nosec B104 # compared, not bound
    ends = time.monotonic() + seconds
    while time.monotonic() < ends and started.runs:
        try:
            with socket.create_connection((reached, port), timeout=1):
                return
        except OSError:
            time.sleep(0.2)
    last = started.said.strip().splitlines()[-1:] or ["nothing"]
    raise ConfigError(f"Flower's SuperLink did not come up; it said: {last[0][:200]}")
