"""What every node of a cluster must have in common with the driver of a sweep, and a node's word that it has."""

import os
import secrets
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from dpjax.keeping import write_whole
from experiments.config import Config, ConfigError
from experiments.launching.secrets_here import handed_on, lacking, needed

MARK = ".shared"
"""A file in the sweep's folder that a node must find as the driver wrote it."""

_PACKAGES = ("dpjax", "jax", "jaxlib", "numpy")
"""Of which another version may train to other numbers."""

_CLOCK_SECONDS = 30.0
"""By how much a node's clock may differ without a word: as much as two machines without time service drift in weeks."""


class NodeError(ConfigError):
    """A node can't run a job of the sweep; which one, why, and what to do."""


class Site(NamedTuple):
    """What the driver has.

    Attributes:
      folder: the sweep's, absolute.
      token: what ``MARK`` in it holds.
      directory: where the command was given: paths of a config begin there.
      versions: package → version.
      environment: variables that a node is to have, too; no secrets, as all of this is written to disks.
      needs: names of secrets that a node must have by its own means.
      clock: seconds since the epoch as the driver's clock had them when it was asked.
    """

    folder: Path
    token: str
    directory: Path
    versions: Mapping[str, str]
    environment: Mapping[str, str]
    needs: tuple[str, ...]
    clock: float


def make_site(folder: Path, cfgs: Sequence[Config] = ()) -> Site:
    """What this process has, and a mark in the sweep's folder that nodes look for.

    Args:
      folder: the sweep's; made if need be.
      cfgs: of its jobs.

    Raises:
      OSError: the folder can't be written.
    """
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        token = (folder / MARK).read_text(encoding="ascii")
    except (OSError, ValueError):
        token = ""  # nosec B105 # no password
    if len(token) != 32:  # another driver of this very sweep may have nodes at work, which look for its mark
        token = secrets.token_hex(16)
        write_whole(folder / MARK, token.encode())
    needs = needed(cfgs, os.environ)
    return Site(folder, token, Path.cwd(), installed(), handed_on(os.environ), needs, time.time())


def installed() -> dict[str, str]:
    """The versions that are here of what decides numbers.

    Example:
      >>> sorted(installed())
      ['dpjax', 'jax', 'jaxlib', 'numpy', 'python']
    """
    found = {"python": ".".join(map(str, sys.version_info[:2]))}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "none"
    return found


def join(
    site: Site,
    *,
    wait: float = 20.0,
    versions: Mapping[str, str] | None = None,
    clock: Callable[[], float] = time.time,
) -> list[str]:
    """Become a node of a site: its directory and environment, after a look at what must be the same.

    Formal guarantees: a node that has other versions of what decides numbers, another disk, or not the secrets that the
    jobs need computes nothing.

    Args:
      site: the driver's.
      wait: seconds to wait for the driver's mark, which a network's disk may show late.
      versions: that are here; None: they are looked up.
      clock: this node's.

    Returns:
      What is worth a line though it keeps nothing from running.

    Raises:
      NodeError: other versions, another disk, or a secret that is not there.
    """
    host = socket.gethostname()
    here = installed() if versions is None else versions
    for package, wanted in site.versions.items():
        if here.get(package) != wanted:
            raise NodeError(
                f"node {host} has {package} {here.get(package, 'none')}, and this sweep was started with {wanted}; "
                "install the same on every node, as with one virtual environment on a shared disk."
            )
    _see_mark(site, host, wait)
    try:
        os.chdir(site.directory)
    except OSError:
        raise NodeError(
            f"node {host} has no folder {site.directory}, from where this sweep was started; start it from a folder "
            "that all nodes share."
        ) from None
    os.environ.update(site.environment)
    if missing := lacking(site.needs, os.environ):
        raise NodeError(
            f"node {host} lacks {' and '.join(missing)}, a secret that no launcher sends; set it where the node's own "
            "processes start, or DPJAX_KEYS=file:PATH of a key file that all nodes share (chmod 600)."
        )
    apart = clock() - site.clock
    # The driver may have asked long before the node had time for it: only a clock that is behind is known to be wrong.
    if apart < -_CLOCK_SECONDS:
        return [
            f"the clock of node {host} is {-apart:.0f} s behind; results are the same, and times in rows are the "
            "node's: set the clocks by NTP."
        ]
    return []


def _see_mark(site: Site, host: str, wait: float) -> None:
    until = time.monotonic() + wait
    while True:
        try:
            os.listdir(site.folder)  # which makes a network's disk look again
            if (site.folder / MARK).read_text(encoding="ascii") == site.token:
                return
        except (OSError, ValueError):
            pass
        if time.monotonic() >= until:
            raise NodeError(
                f"node {host} does not see {site.folder} as this machine does; give a folder on a disk that all nodes "
                "share as results_dir=FOLDER."
            )
        time.sleep(0.5)
