"""Real clusters of two nodes on this one machine: of Ray, and of SLURM from Debian's packages."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

_PATIENCE = 120.0


class RayCluster(NamedTuple):
    """A cluster of a head and one other node, of one CPU each."""

    address: str
    environment: dict[str, str]
    head: subprocess.Popen[bytes]
    node: subprocess.Popen[bytes]


class SlurmCluster(NamedTuple):
    """A controller and two nodes, n1 and n2, of one CPU each."""

    environment: dict[str, str]
    folder: Path

    def ask(self, *command: str) -> str:
        """What one of SLURM's commands answers."""
        return subprocess.run(
            command, env=self.environment, check=True, capture_output=True, text=True, timeout=60
        ).stdout


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(what: str, there: Callable[[], bool], seconds: float = _PATIENCE) -> None:
    """Wait until something is there."""
    until = time.monotonic() + seconds
    while not there():
        if time.monotonic() > until:
            raise TimeoutError(f"no {what} within {seconds:g} s")
        time.sleep(0.2)


def kill_node(process: subprocess.Popen[bytes]) -> None:
    """Kill a node with all that runs on it, as a power cut does."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def ray_cluster(folder: Path, environment: Mapping[str, str] = os.environ) -> Iterator[RayCluster]:
    """Two nodes of Ray on loopback, with a token of their own."""
    folder.mkdir(parents=True, exist_ok=True)
    ray = Path(sys.executable).with_name("ray")
    address = f"127.0.0.1:{free_port()}"
    environment = dict(environment) | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_health_check_period_ms": "1000",
    }
    common = ["--num-cpus=1", "--num-gpus=0", "--block", "--node-ip-address=127.0.0.1"]
    # Ray keeps sockets in this folder, whose paths may have a hundred bytes.
    short = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # nosec B108 # made here, for nobody else

    def start(name: str, *words: str) -> subprocess.Popen[bytes]:
        log = folder / f"{name}.log"
        with log.open("wb") as said:
            process = subprocess.Popen(
                [ray, "start", *words, *common], env=environment, stdout=said, stderr=said, start_new_session=True
            )
        stack.callback(_end, process)
        wait_for(f"Ray {name}", lambda: "runtime started" in log.read_text(errors="replace"))
        return process

    with ExitStack() as stack:
        stack.callback(shutil.rmtree, short, ignore_errors=True)
        port = address.rpartition(":")[2]
        head = start("head", "--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={short}")
        yield RayCluster(address, environment, head, start("node", f"--address={address}"))


def no_slurm() -> str:
    """Why no SLURM can be started here; "" where it can."""
    missing = [name for name in ("slurmctld", "slurmd", "munged", "sbatch") if _program(name) is None]
    if missing:
        return f"{missing[0]} is not installed (Debian: slurm-wlm, munge)"
    return "" if os.geteuid() == 0 else "a SLURM of one's own wants root"


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@contextmanager
def slurm_cluster(folder: Path, environment: Mapping[str, str] = os.environ) -> Iterator[SlurmCluster]:
    """A SLURM of two nodes on loopback, without accounting, with a munge key and ports of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    host, ports = socket.gethostname(), [free_port() for _ in range(3)]
    key = folder / "munge.key"
    pipe = Path(f"/tmp/munge-{secrets.token_hex(8)}.socket")  # nosec B108 # a name that nobody foresees
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    conf = folder / "slurm.conf"
    lines = {
        "ClusterName": "t",
        "SlurmctldHost": f"{host}(127.0.0.1)",
        "SlurmctldPort": ports[0],
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={pipe}",
        "CredType": "cred/munge",
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "SlurmUser": "root",
        "SlurmdUser": "root",
        "StateSaveLocation": folder / "state",
        "SlurmdSpoolDir": folder / "spool-%n",
        "SlurmctldPidFile": folder / "ctld.pid",
        "SlurmdPidFile": folder / "d-%n.pid",
        "SlurmctldLogFile": folder / "ctld.log",
        "SlurmdLogFile": folder / "d-%n.log",
        "SchedulerType": "sched/backfill",
        "SchedulerParameters": "bf_interval=2,batch_sched_delay=1",
        "SelectType": "select/cons_tres",
        "ReturnToService": 2,
        "KillWait": 2,
        "MinJobAge": 10,
        "SlurmdTimeout": 10,
    }
    text = [f"{name}={value}" for name, value in lines.items()]
    text += [
        f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=1 RealMemory=4000 State=UNKNOWN"
        for node, port in zip(("n1", "n2"), ports[1:], strict=True)
    ]
    text.append("PartitionName=main Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP OverTimeLimit=0")
    conf.write_text("\n".join(text) + "\n")
    (folder / "state").mkdir()
    environment = {name: value for name, value in environment.items() if not name.startswith(("SLURM", "SBATCH"))}
    environment |= {"SLURM_CONF": str(conf), "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin"}
    cluster = SlurmCluster(environment, folder)

    def start(name: str, *words: str) -> None:
        with (folder / f"{name}.said").open("wb") as said:
            process = subprocess.Popen(
                [str(_program(words[0])), *words[1:]], env=environment, stdout=said, stderr=said, start_new_session=True
            )
        stack.callback(_end, process)

    with ExitStack() as stack:
        stack.callback(pipe.unlink, missing_ok=True)
        start(
            "munged",
            *("munged", "--foreground", "--force", f"--key-file={key}", f"--socket={pipe}"),
            *(f"--pid-file={folder / 'munge.pid'}", f"--log-file={folder / 'munge.log'}"),
            *(f"--seed-file={folder / 'munge.seed'}",),
        )
        wait_for("munge", pipe.exists)
        start("ctld", "slurmctld", "-D", "-f", str(conf))
        for node in ("n1", "n2"):
            start(node, "slurmd", "-D", "-N", node, "-f", str(conf))

        def idle() -> bool:
            try:
                return cluster.ask("sinfo", "-h", "-N", "-o", "%T").split() == ["idle", "idle"]
            except subprocess.SubprocessError:
                return False

        wait_for("SLURM", idle)
        yield cluster
        cancel = ["scancel", "--state=RUNNING", "--state=PENDING", "--user=root"]
        subprocess.run(cancel, env=environment, check=False)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it has started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(10)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
