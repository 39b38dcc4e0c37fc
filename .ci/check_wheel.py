"""Fail unless the folder holds one wheel and one sdist with what they should hold: check_wheel.py dist [v1.2.3]."""

import re
import sys
import tarfile
import zipfile
from pathlib import Path

PACKAGES = {"dpjax", "experiments", "hydra_plugins"}
WHEEL = (
    "dpjax/__init__.py",
    "experiments/run.py",
    "experiments/conf/config.yaml",
    "experiments/conf/experiment/quickstart.yaml",
    "hydra_plugins/",
    ".dist-info/licenses/LICENSE",
    ".dist-info/entry_points.txt",
)
SDIST = ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "tests/test_docs.py", "docs/index.md", "mkdocs.yml")


def problems_of_wheel(wheel: Path) -> list[str]:
    """What is missing, and what should not be there."""
    names = zipfile.ZipFile(wheel).namelist()
    found = [f"{wheel.name} has no {part}" for part in WHEEL if not any(part in name for name in names)]
    tops = {name.split("/")[0] for name in names}
    found += [f"{wheel.name} holds {top}" for top in sorted(tops - PACKAGES) if not top.endswith(".dist-info")]
    return found + [f"{wheel.name} holds {name}" for name in names if "__pycache__" in name or name.endswith(".pyc")]


def problems_of_sdist(sdist: Path) -> list[str]:
    """What is missing."""
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    return [f"{sdist.name} has no {part}" for part in SDIST if part not in names]


def problems_of(folder: Path, tag: str = "") -> list[str]:
    """All of them; the tag must name the version."""
    wheels, sdists = sorted(folder.glob("*.whl")), sorted(folder.glob("*.tar.gz"))
    if len(wheels) != 1 or len(sdists) != 1:
        return [f"{folder} holds {len(wheels)} wheels and {len(sdists)} sdists, not one of each"]
    found = problems_of_wheel(wheels[0]) + problems_of_sdist(sdists[0])
    version = wheels[0].name.split("-")[1]
    if tag and not re.fullmatch(rf"v{re.escape(version)}", tag):
        found.append(f"the tag {tag} does not name version {version}")
    return found


if __name__ == "__main__":
    problems = problems_of(Path(sys.argv[1]), *sys.argv[2:3])
    sys.exit("\n".join(problems) or 0)
