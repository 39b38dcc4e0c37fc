"""A PostgreSQL that tests start by themselves, on a free port of this machine, where it is installed."""

import glob
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def _as_nobody_special() -> list[str]:
    """PostgreSQL refuses to run as root."""
    return ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []


def _programs() -> Path | None:
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))
    here = found[-1] if found else shutil.which("initdb")
    return Path(here).parent if here else None


@contextmanager
def postgresql(certificate: bytes = b"", key: bytes = b"") -> Iterator[str]:
    """The URL of a server that is stopped and forgotten in the end; skips the test where there can be none.

    Args:
      certificate, key: PEM; with them it speaks TLS.
    """
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    if os.geteuid() == 0 and not shutil.which("runuser"):
        pytest.skip("PostgreSQL does not run as root, and there is no runuser")
    folder = tempfile.mkdtemp(prefix="dpjax-postgresql-")
    user = _as_nobody_special()
    if user:
        shutil.chown(folder, "postgres")
    data = f"{folder}/data"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    quiet = {"cwd": folder, "check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "timeout": 120}
    subprocess.run([*user, programs / "initdb", "-D", data, "-A", "trust", "-U", "dpjax", "-E", "UTF8"], **quiet)
    for name, content in {"server.crt": certificate, "server.key": key}.items() if key else ():
        path = Path(data, name)
        path.write_bytes(content)
        path.chmod(0o600)
        if user:
            shutil.chown(path, "postgres")
    options = "-c ssl=on " if key else ""
    options += f"-c listen_addresses=127.0.0.1 -p {port} -c unix_socket_directories={folder} -c max_connections=200"
    start = [*user, programs / "pg_ctl", "-D", data, "-w", "-t", "60", "-l", f"{folder}/log", "-o", options, "start"]
    subprocess.run(start, **quiet)
    try:
        yield f"postgresql://dpjax@127.0.0.1:{port}"
    finally:
        subprocess.run([*user, programs / "pg_ctl", "-D", data, "-m", "immediate", "stop"], **quiet)
        shutil.rmtree(folder, ignore_errors=True)


def fresh_database(server: str, name: str) -> str:
    """The URL of a new database of a server."""
    import psycopg

    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return f"{server}/{name}"
