"""The README's two commands in a clean clone: what they install, and how long one waits.

    python -m benchmarks.first_run [--suite] [--output benchmarks/results]

Packages come from uv's cache as it is, programs and calibrations from an empty one. The clone is of the last commit.
Writes first_run.json and first_run.md; ``--suite`` runs the tests too, which takes minutes.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
JOB = "uv run --no-dev python -m experiments.run -m experiment=quickstart"
TESTS = "uv run pytest"


def seconds_of(command: str, tree: Path, environment: dict[str, str]) -> dict[str, float]:
    """What a command that must end well takes: seconds on the clock, and of all cores together."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command.split(), cwd=tree, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"error: `{command}` failed in a clean clone: {done.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cores = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"clock": time.perf_counter() - started, "cores": cores}


def packages_in(tree: Path) -> tuple[int, int]:
    """How many packages an environment has besides dpjax, and its size in MiB."""
    (site,) = (tree / ".venv").glob("lib/python*/site-packages")
    size = sum(path.stat().st_size for path in site.rglob("*") if path.is_file() and not path.is_symlink())
    return len(list(site.glob("*.dist-info"))) - 1, round(size / 2**20)


def clone(folder: Path) -> Path:
    """A clean clone of the last commit."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)  # nosec B607 # git of PATH
    return folder


def measure(suite: bool) -> dict[str, Any]:
    """Both commands, each in a clone of its own; the main job twice."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"DPJAX_CACHE_DIR": str(Path(folder) / "cache")}
        for name in ("VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE"):  # as a user's shell has it
            environment.pop(name, None)
        tree = clone(Path(folder) / "job")
        job: dict[str, Any] = {"install": seconds_of("uv sync --no-dev", tree, environment)}
        job["packages"], job["mib"] = packages_in(tree)
        job["first"] = seconds_of(JOB, tree, environment)
        job["again"] = seconds_of(JOB, tree, environment)
        tree = clone(Path(folder) / "tests")
        tests: dict[str, Any] = {"install": seconds_of("uv sync", tree, environment)}
        tests["packages"], tests["mib"] = packages_in(tree)
        if suite:
            tests["first"] = seconds_of(TESTS, tree, environment)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    return {"machine": machine, "job": job, "tests": tests}


def table(result: dict[str, Any]) -> str:
    """The Markdown that the README quotes."""

    def row(command: str, side: dict[str, Any]) -> str:
        taken = [f"{side[name]['cores']:.0f}" for name in ("install", "first", "again") if name in side]
        cells = [f"`{command}`", str(side["packages"]), f"{side['mib']} MiB", *taken, *[""] * (3 - len(taken))]
        return f"| {' | '.join(cells)} |"

    return "\n".join(
        [
            "| command | packages | on disk | installing | then | the same again |",
            "|---|--:|--:|--:|--:|--:|",
            row(JOB, result["job"]),
            row(TESTS, result["tests"]),
            "",
            "Seconds of all cores together, which two cores take between half of and all of on the clock, in a clean "
            f"clone with the packages in uv's cache and no compiled program kept ({result['machine']}): "
            "`python -m benchmarks.first_run`.",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--suite", action="store_true", help="run the tests too")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"), help="folder of the two files")
    chosen = parser.parse_args()
    result = measure(chosen.suite)
    chosen.output.mkdir(parents=True, exist_ok=True)
    (chosen.output / "first_run.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    text = f"# The README's commands in a clean clone\n\n{table(result)}\n"
    (chosen.output / "first_run.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
