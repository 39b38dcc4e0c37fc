"""Whether two revisions of dpjax compute the same: every public number, bit for bit.

    python -m benchmarks.same_results BASE [--only NAME,NAME]

BASE is any name that git knows; the other side is the working tree. Both run the same sweeps, each in a process of its
own with its own code, its own configs, an empty cache of calibrations and the same installed packages: the quickstart,
and small runs that together touch each kind of sampling, clipping, noise, optimizer, algorithm, partition, aggregation,
robust mean, corruption and compression; and both print their ε and noise for a list of mechanisms. No difference means
that a user who updates from BASE gets each of these numbers again: parameters enter by losses and accuracies of the
trained model, the noise by its draws, the accountants by ε and calibrated noise, what is said by the texts. It does
not say that the numbers are right.

Times, memory, dates, what names the code and the size of ciphertexts, which is random, are left out (``LEFT_OUT``). A
column, or field of a config, that one revision lacks is told and is no difference; so is a command whose overrides one
of them does not know. Exits with 1 on any difference, and where a command ran on neither side.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import platformdirs
import pyarrow.parquet as pq

from benchmarks.same_results import serve
from benchmarks.same_results.commands import ACCOUNTS, CACHED, SWEEPS
from benchmarks.same_results.comparison import Compared, compare
from benchmarks.sides import ROOT, Side, checked_out

ACCOUNTED = "accounts"
"""The name of all mechanisms together."""


def open_side(tree: Path, folder: Path, fetched: Path) -> Side:
    """A process with the code of one tree, in a new folder with one file of texts, and with caches of its own."""
    folder.mkdir()
    rows = [f"{'good' if i % 3 else 'bad'} film number {i},{i % 3 > 0:d},{i % 25}" for i in range(100)]
    (folder / "texts.csv").write_text("\n".join(["text,label,owner", *rows]) + "\n", encoding="utf-8")
    folders = {"DPJAX_DATA_DIR": "datasets", "DPJAX_MODELS_DIR": "models"}
    environment = {name: os.environ.get(name, str(fetched / kind)) for name, kind in folders.items()}
    environment |= dict.fromkeys(("XDG_CACHE_HOME", "DPJAX_CACHE_DIR"), str(folder / "cache"))
    return Side(tree, Path(serve.__file__), folder, environment)


def table(folder: Path) -> list[dict[str, Any]]:
    """A sweep's rows as its ``results.parquet`` holds them, JSON columns parsed; none where there is no table."""
    rows = [row for path in folder.rglob("results.parquet") for row in pq.read_table(path).to_pylist()]
    return [row | {name: json.loads(row[name]) for name in ("config", "inputs") if row.get(name)} for row in rows]


def run_both(sides: Sequence[Side], name: str, words: list[str]) -> Compared:
    """One command on both sides at the same time, compared."""
    for side in sides:
        side.tell(words)
    answers = [side.hear() for side in sides]
    if words[0] == "-m":
        rows = [table(side.folder / words[-1].partition("=")[2]) for side in sides]
    else:
        printed = [json.loads(output or "[]") for _, output, _ in answers]
        rows = [[part] if isinstance(part, dict) else part for part in printed]
    refusals = [
        f"{side} ends with {status}: {' '.join(error.split())[-400:]}"
        for side, (status, _, error) in zip(("old", "new"), answers, strict=True)
        if status
    ]
    # Status 2 of one side: it does not know an override, and there is nothing to compare.
    if sorted(status == 2 for status, _, _ in answers) == [False, True]:
        return Compared(name, 0, [], [], refusals)
    result = compare(name, *rows)
    return result._replace(differences=[*result.differences, *refusals])


def commands(wanted: str | None, fetched: Path) -> dict[str, list[str]]:
    """The words of each command that was asked for, all if none was, under its name."""
    sweeps = SWEEPS | {name: words for name, (needed, words) in CACHED.items() if (fetched / needed).exists()}
    known = [ACCOUNTED, *sweeps]
    names = known if wanted is None else wanted.split(",")
    if unknown := [name for name in names if name not in known]:
        raise SystemExit(f"{', '.join(unknown)}: not known, or not fetched; use some of {', '.join(known)}.")
    by_name: dict[str, list[str]] = {}
    for name in names:
        if name == ACCOUNTED:
            by_name |= {words: [*words.split()] for words in ACCOUNTS}
        else:
            by_name[name] = ["-m", *sweeps[name].split(), f"results_dir={name.replace(' ', '_')}"]
    return by_name


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("revision", metavar="BASE", help="what git knows the other side by: a tag, branch or hash")
    parser.add_argument("--only", metavar="NAMES", help=f"some of {', '.join([ACCOUNTED, *SWEEPS, *CACHED])}")
    arguments = parser.parse_args()
    fetched = Path(platformdirs.user_cache_dir("dpjax"))
    differ = False
    with (
        checked_out(arguments.revision) as tree,
        tempfile.TemporaryDirectory() as folder,
        open_side(tree, Path(folder) / "old", fetched) as old,
        open_side(ROOT, Path(folder) / "new", fetched) as new,
    ):
        print("| what | rows | columns | differences |\n|---|---:|---:|---|", flush=True)
        for name, words in commands(arguments.only, fetched).items():
            result = run_both((old, new), name, words)
            nothing = [] if result.rows or result.told else ["it ran on neither side"]
            lines = [*result.differences, *nothing]
            differ |= bool(lines)
            for line in [*lines, *(f"told: {line}" for line in result.told)] or ["none"]:
                print(f"| {name} | {result.rows} | {len(result.columns)} | {line} |", flush=True)
    raise SystemExit(int(differ))


if __name__ == "__main__":
    main()
