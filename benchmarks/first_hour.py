"""The ten jobs of docs/first-hour.md, run as they stand there, with made-up files: lines that are typed, and minutes.

    python -m benchmarks.first_hour [--output benchmarks/results]
    python -m benchmarks.first_hour --files FOLDER

Every command is a fresh process, one after the other; the first job finds no compiled program. Job 7 needs the
checkpoint minilm (`dpjax models fetch minilm`), and is left out without it. Writes first_hour.json and first_hour.md.
"""

import argparse
import json
import os
import platform
import random
import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from tests.patients import write_patients

PAGE = Path(__file__).resolve().parents[1] / "docs/first-hour.md"
_JOB = re.compile(r"^## (\d+)\. (.*?)\n(.*?)(?=^## |\Z)", re.DOTALL | re.MULTILINE)
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


class Job(NamedTuple):
    """One job of the page.

    Attributes:
      number: in its order.
      title: its heading.
      files: name → what is written into it, without the line that names it.
      commands: in their order.
    """

    number: int
    title: str
    files: dict[str, str]
    commands: list[str]

    @property
    def lines(self) -> int:
        """What is typed: lines of files that hold something, and commands."""
        return len(self.commands) + sum(
            bool(line.strip()) for text in self.files.values() for line in text.splitlines()
        )


def jobs_of(page: str) -> list[Job]:
    """The jobs of the page."""
    jobs = []
    for number, title, body in _JOB.findall(page):
        files, commands = {}, []
        for language, block in _BLOCK.findall(body):
            if language == "console":
                commands += [line[2:] for line in block.splitlines() if line.startswith("$ ")]
            elif named := re.match(r"# (\w+\.(?:py|yaml))\n", block):
                files[named[1]] = block[named.end() :]
        jobs.append(Job(int(number), title, files, commands))
    return jobs


def write_files(folder: Path) -> None:
    """Patients, a folder of images, and texts with owners."""
    write_patients(folder / "patients.csv")
    write_images(folder / "scans")
    write_reviews(folder / "reviews.parquet")


def write_images(folder: Path, each: int = 400, size: int = 16) -> None:
    """Rings and crosses with noise, as PNG, in a folder of each."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size]
    for name in ("ring", "cross"):
        (folder / name).mkdir(parents=True)
        for i in range(each):
            middle, radius = rng.uniform(6, 10, 2), rng.uniform(3, 5)
            across, down = np.abs(x - middle[0]), np.abs(y - middle[1])
            drawn = np.abs(np.hypot(across, down) - radius) < 1 if name == "ring" else np.minimum(across, down) < 1
            pixels = 180 * drawn + rng.normal(40, 25, (size, size))
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / name / f"{i:04d}.png")


def write_reviews(path: Path, rows: int = 3000) -> None:
    """Short reviews by authors who write three each in the mean."""
    import pyarrow
    import pyarrow.parquet

    source = random.Random(0)  # nosec B311 # secures nothing
    words = {"pos": ("warm", "bright", "moving", "a joy"), "neg": ("dull", "slow", "cold", "a chore")}
    columns: dict[str, list[str]] = {"review": [], "stars": [], "author": []}
    for _ in range(rows):
        stars = source.choice(("neg", "pos"))
        said = source.choice(words[stars if source.random() > 0.1 else source.choice(("neg", "pos"))])
        columns["review"].append(
            f"The {source.choice(('film', 'book', 'play'))} was {said}, said {source.randrange(99)}."
        )
        columns["stars"].append(stars)
        columns["author"].append(f"A{source.randrange(rows // 3)}")
    pyarrow.parquet.write_table(pyarrow.table(columns), path)


def run(command: str, folder: Path, environment: dict[str, str]) -> float:
    """Seconds of one command that must end well."""
    words = shlex.split(command)
    words = (
        [sys.executable, *words[1:]]
        if words[0] == "python"
        else [str(Path(sys.executable).parent / words[0]), *words[1:]]
    )
    started = time.perf_counter()
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"error: `{command}` failed: {done.stderr[-2000:]}")
    return time.perf_counter() - started


def measure() -> dict[str, Any]:
    """Every job in one folder, in the page's order."""
    from dpjax.models.pretrained import checkpoint_folder

    results = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "study")
        folder.mkdir()
        write_files(folder)
        environment = os.environ | {"DPJAX_CACHE_DIR": str(Path(name, "cache"))}
        for job in jobs_of(PAGE.read_text(encoding="utf-8")):
            here = "minilm" not in str(job.files) or checkpoint_folder("minilm").is_dir()
            for file, text in job.files.items():
                (folder / file).write_text(text, encoding="utf-8")
            seconds = [run(command, folder, environment) for command in job.commands] if here else None
            results.append({"job": job.number, "title": job.title, "lines": job.lines, "seconds": seconds})
            taken = "left out" if seconds is None else f"{sum(seconds):.0f} s"
            print(f"{job.number}. {job.title}: {job.lines} lines, {taken}")
    return {"machine": f"{platform.machine()}, {os.cpu_count()} cores", "jobs": results}


def table(result: dict[str, Any]) -> str:
    """The Markdown that the page quotes."""
    rows = ["| job | lines typed | seconds of each command | together |", "|---|--:|---|--:|"]
    for each in result["jobs"]:
        taken = each["seconds"]
        cells = (
            ["not run", ""] if taken is None else [" + ".join(f"{s:.0f}" for s in taken), f"{sum(taken) / 60:.1f} min"]
        )
        rows.append(f"| {each['job']}. {each['title']} | {each['lines']} | {cells[0]} | {cells[1]} |")
    note = f"Fresh processes, no compiled program kept before the first ({result['machine']})."
    return "\n".join([*rows, "", note])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"), help="folder of the two files")
    parser.add_argument("--files", type=Path, help="write the made-up files into this folder, and run nothing")
    chosen = parser.parse_args()
    if chosen.files is not None:
        chosen.files.mkdir(parents=True, exist_ok=True)
        return write_files(chosen.files)
    result = measure()
    chosen.output.mkdir(parents=True, exist_ok=True)
    (chosen.output / "first_hour.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    text = f"# The first hour\n\n{table(result)}\n"
    (chosen.output / "first_hour.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
