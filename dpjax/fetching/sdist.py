"""An sdist by pip, without running a line of it: pip asks a build for name and version, and gets them from here."""

import os
from pathlib import Path

from dpjax.fetching.sources import PackageSource

# pip knows no download without a build: of an sdist it wants the metadata, and calls the package's own setup for them.
# The call goes to whatever ``setuptools`` Python finds first (PEP 517 and its fallback for projects that name no
# builder), so a stand-in that answers from the pinned name and version keeps the package's code asleep.
_STAND_IN = '''"""Answers pip's one question about {name} {version}; builds nothing."""
import pathlib, sys

__legacy__ = sys.modules[__name__]


def prepare_metadata_for_build_wheel(folder, config_settings=None):
    info = pathlib.Path(folder, "{name}-{version}.dist-info")
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n")
    return info.name


def build_wheel(folder, config_settings=None, metadata_directory=None):
    raise RuntimeError("{name} is read, not built")
'''

PIP_OPTIONS = ("--no-binary=:all:", "--no-build-isolation", "--use-pep517")


def stand_in_for_build(source: PackageSource, folder: Path) -> dict[str, str]:
    """Writes the stand-in for ``setuptools`` into a folder.

    Only for packages without a builder of their own in ``pyproject.toml``: pip would run that one.

    Args:
      source: the sdist's name and version.
      folder: where pip works.

    Returns:
      The settings of the environment under which pip, called with ``PIP_OPTIONS``, finds it.

    Example:
      >>> import tempfile
      >>> source = PackageSource("pypi", "plays", "1.0", "", 0, {}, lambda files: None, form="sdist")
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     settings = stand_in_for_build(source, Path(folder))
      ...     Path(settings["PYTHONPATH"].split(os.pathsep)[0], "setuptools", "build_meta.py").is_file()
      True
    """
    package = folder / "stand-in" / "setuptools"
    package.mkdir(parents=True, exist_ok=True)
    (package / "__init__.py").touch()
    (package / "build_meta.py").write_text(_STAND_IN.format(name=source.package, version=source.version))
    paths = [str(package.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(paths)}
