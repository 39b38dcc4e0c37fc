"""The tested resolution as ``constraint-dependencies`` in pyproject.toml: no later release changes a clean clone.

uv.lock itself is not kept in git, as it has download addresses. Run from anywhere:

python .ci/constraints.py            # after a change of dependencies: keeps what is there, adds and drops what changed
python .ci/constraints.py --upgrade  # resolves anew, up to exclude-newer
python .ci/constraints.py --check    # status 1 if uv resolves anything else
"""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROJECT = ROOT / "pyproject.toml"
_BLOCK = re.compile(r"(?<=^constraint-dependencies = \[\n).*?(?=^\]$)", re.DOTALL | re.MULTILINE)


def pins(lock: str) -> list[str]:
    """``name==version`` of every package of a uv.lock but the project itself.

    A package that extras in conflict need in several versions is left out, as one list can't say them: those follow
    from ``exclude-newer``.
    """
    found: dict[str, set[str]] = {}
    for package in tomllib.loads(lock)["package"]:
        if "editable" not in package["source"] and "virtual" not in package["source"]:
            found.setdefault(package["name"], set()).add(package["version"])
    return [f"{name}=={version}" for name, (version, *others) in sorted(found.items()) if not others]


def rewritten(project: str, constraints: list[str]) -> str:
    """The text of pyproject.toml with these constraints."""
    return _BLOCK.sub("".join(f'  "{line}",\n' for line in constraints), project, count=1)


def _lock(*options: str) -> str:
    subprocess.run([os.environ.get("UV", "uv"), "lock", "--quiet", *options], cwd=ROOT, check=True)
    return (ROOT / "uv.lock").read_text(encoding="utf-8")


def main() -> int:
    """Write the constraints, or compare them."""
    before = PROJECT.read_text(encoding="utf-8")
    if "--check" in sys.argv:
        if tomllib.loads(before)["tool"]["uv"]["constraint-dependencies"] == pins(_lock()):
            return 0
        print("constraint-dependencies in pyproject.toml are stale: run `python .ci/constraints.py`", file=sys.stderr)
        return 1
    try:
        if "--upgrade" in sys.argv:
            PROJECT.write_text(rewritten(before, []), encoding="utf-8")
        after = rewritten(before, pins(_lock(*(["--upgrade"] if "--upgrade" in sys.argv else []))))
    except BaseException:
        PROJECT.write_text(before, encoding="utf-8")
        raise
    PROJECT.write_text(after, encoding="utf-8")
    _lock()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
