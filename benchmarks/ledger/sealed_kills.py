"""A process that seals states, trains, or rotates keys is killed (SIGKILL) at random moments: it all opens after."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import time
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.ledger.runs import DELTA
from benchmarks.ledger.sealing_worker import IDENTITY, MARK, state_of
from benchmarks.sides import ROOT, Ended, Side
from dpjax.encryption.errors import EncryptionError
from dpjax.encryption.header import MAGIC, PURPOSES
from dpjax.encryption.keys import Keys, add_key, keys_from
from dpjax.encryption.reader import is_sealed, purpose_of, read_sealed
from dpjax.encryption.rotation import rewrap, sealed_under
from dpjax.encryption.writer import write_sealed
from dpjax.keeping import LOCK_ENDING

WORKER = Path(__file__).with_name("sealing_worker.py")
LONGEST = 0.6
"""Seconds that a process lives at most after it is ready."""
SIZES = (10, 100_000, 1_000_000, 4_000_000)
"""Numbers of a state: some are written in a moment, some are nearly always being written."""
FILES = 40
"""That are given another key."""
STEPS = 100_000
"""Of a training, which is killed in some of them."""


def kill_of_states(side: Side, folder: Path, source: str, first: int, rng: random.Random) -> dict[str, Any]:
    """A process that keeps states until it is killed, and what of them is there."""
    from dpjax.sealed_checkpoints import SealedCheckpoints

    size = rng.choice(SIZES)
    side.tell({"what": "states", "folder": str(folder / "seed-0"), "keys": source, "size": size, "first": first})
    told = [each["kept"] for each in _until_killed(side, rng) if "kept" in each]
    keys = keys_from(source)
    parts, bare = len(list(folder.rglob(".*.tmp"))), open_under(folder)
    unread = unreadable_under(folder, keys)
    kept = SealedCheckpoints(folder / "seed-0", IDENTITY, keys)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        found = kept.restore(state_of(0, size)) if told and max(told) >= first else None
    kept.clear()
    last = max(told, default=first - 1)
    whole = last < first or (
        found is not None and found[0] >= last and bool((found[1]["step"] == found[0]).all()) and not warned
    )
    return {"within": parts, "open": bare, "unreadable": unread, "lost": not whole, "kept": last - first + 1}


def kill_of_rotation(side: Side, folder: Path, rng: random.Random) -> dict[str, Any]:
    """A process that gives files other keys until it is killed, and which of them open."""
    source, contents = f"file:{folder / 'keys'}", {}
    first = add_key(source)
    for number in range(FILES):
        path = folder / f"{number}.sealed"
        contents[path] = MARK * rng.choice((0, 1, 100, 100_000))
        write_sealed(path, contents[path], first, purpose=rng.choice(PURPOSES))
    files = [str(path) for path in contents]
    side.tell({"what": "rotation", "keys": source, "files": files, "seed": rng.random()})
    told = [each["rotated"] for each in _until_killed(side, rng) if "rotated" in each]
    keys = keys_from(source)
    unread = [path.name for path, content in contents.items() if not _opens(path, keys, content)]
    given = 0
    for path in contents:  # what the killed one had not come to
        with contextlib.suppress(EncryptionError):  # which is counted above and below
            given += rewrap(path, keys)
    with (folder / "keys").open("r+", encoding="ascii") as ring:
        newest = ring.readline()
        ring.seek(0)
        ring.truncate()
        ring.write(newest)
    alone = keys_from(source)
    unread += [path.name for path, content in contents.items() if not _opens(path, alone, content)]
    return {
        "within": int(0 < given < FILES),
        "open": open_under(folder),
        "unreadable": unread,
        "lost": not all(told),
        "rotated": len(told),
    }


def kill_of_training(folder: Path, rng: random.Random) -> dict[str, Any]:
    """A training that is killed after its first state, and comes to its end when it is run again."""
    from dpjax.datasets.raw_columns import columns_of
    from dpjax.fingerprints import fingerprint_of
    from dpjax.governance.ledger import create_ledger
    from dpjax.results import load

    add_key(f"file:{folder / 'keys'}")
    os.environ |= {"DPJAX_KEYS": f"file:{folder / 'keys'}", "DPJAX_LEDGER": str(folder / "ledger.db")}
    rows = fingerprint_of(columns_of("breast_cancer"))
    ledger = create_ledger(who="ana")
    ledger.set_budget("cancer", rows, unit="example", adjacency="zero_out", epsilon=8.0, delta=DELTA)
    results = folder / "results"
    command = [
        *(sys.executable, "-m", "experiments.run", f"results_dir={results}", "data=breast_cancer", "model=logistic"),
        *("governance=local", "governance.seal=true", "privacy.accountant=rdp", f"privacy.delta={DELTA}"),
        *("privacy.epsilon=2", f"optimizer.num_steps={STEPS}", "num_seeds=1", "checkpoint_seconds=0.05"),
    ]
    pipes: dict[str, Any] = {"cwd": ROOT, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    killed = subprocess.Popen(command, **pipes)
    ends = time.monotonic() + 300
    while not list(results.rglob("checkpoints/*/*.sealed")) and time.monotonic() < ends and killed.poll() is None:
        time.sleep(0.02)
    time.sleep(rng.uniform(0.0, 2.0))
    killed.kill()
    killed.communicate()
    within, keys = len(list(results.rglob("checkpoints/**/.*.tmp"))), keys_from()
    bare, unread = open_under(*results.rglob("checkpoints")), unreadable_under(results, keys)
    again = subprocess.run(command, timeout=600, check=False, **pipes)
    went_on, ended = "on from what was kept" in again.stderr, again.returncode == 0
    bare += sum(b"test_accuracy" in path.read_bytes() for path in results.rglob("*") if path.is_file())
    whole = ended and went_on and len(load(next(results.rglob("result.json")).parent)) == 1
    unread += unreadable_under(results, keys)
    left = sorted(path.name for path in results.rglob(".*.tmp"))
    return {"within": within, "open": bare, "unreadable": unread, "lost": not whole or bool(left)}


def open_under(*folders: Path) -> int:
    """Files in these folders that hold the mark, or, beside sealed states, anything that is not sealed."""
    bare = 0
    for path in (path for folder in folders for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        is_state = "seed-" in str(path.parent.name) and not path.name.endswith(LOCK_ENDING)
        bare += MARK in content or (is_state and content[: len(MAGIC)] != MAGIC[: len(content)])
    return bare


def unreadable_under(folder: Path, keys: Keys) -> list[str]:
    """Sealed files in a folder that don't open, of those that are not half written."""
    files, failed = sealed_under([folder]) if folder.exists() else ([], [])
    return failed + [path.name for path in files if not _opens(path, keys, None)]


def measure(kills: int, trainings: int, seed: int, folder: Path) -> dict[str, Any]:
    """So many kills of a process that keeps states, and of one that rotates; and some of a training."""
    found: dict[str, Any] = {"states": [], "trainings": [], "rotation": []}
    rng = random.Random(f"{seed} sealed")  # nosec B311 # secures nothing
    source = f"file:{folder / 'keys'}"
    add_key(source)
    for kind in ("states", "rotation"):
        spare = Side(ROOT, WORKER, folder) if kills else None
        for number in range(kills):
            assert spare is not None
            side, spare = spare, Side(ROOT, WORKER, folder)
            place = folder / f"{kind}-{number}"
            place.mkdir()
            one = (
                kill_of_states(side, place, source, 1 + number, rng)
                if kind == "states"
                else kill_of_rotation(side, place, rng)
            )
            found[kind].append(one)
            if number % 10 == 9 or number == kills - 1:
                _tell(kind, found[kind])
        if spare is not None:
            spare.kill()
    before = dict(os.environ)
    try:
        for number in range(trainings):
            place = folder / f"training-{number}"
            place.mkdir()
            found["trainings"].append(kill_of_training(place, rng))
            _tell("trainings", found["trainings"])
    finally:
        os.environ.clear()
        os.environ.update(before)
    return found


def lines(found: dict[str, Any]) -> list[str]:
    """Rows of the table."""
    words = {
        "states": "killed while it keeps sealed states",
        "trainings": "a training with `governance.seal=true` killed, and run again",
        "rotation": f"killed while it gives {FILES} sealed files another key",
    }
    said = []
    for kind, kills in found.items():
        within, lost, unread, bare = _sums(kills)
        said.append(
            f"| {words[kind]} | kills; died within a {'rotation' if kind == 'rotation' else 'state'}; lost something; "
            f"files that don't open; open files | {len(kills)}; {within}; {lost}; {unread}; {bare} |"
        )
    return said


def held(found: dict[str, Any]) -> bool:
    """Whether all is as it must be."""
    return not any(sum(_sums(kills)[1:]) for kills in found.values())


def _sums(kills: Iterable[dict[str, Any]]) -> tuple[int, int, int, int]:
    kills = list(kills)
    return (
        sum(bool(each["within"]) for each in kills),
        sum(each["lost"] for each in kills),
        sum(len(each["unreadable"]) for each in kills),
        sum(each["open"] for each in kills),
    )


def _tell(kind: str, kills: list[dict[str, Any]]) -> None:
    within, lost, unread, bare = _sums(kills)
    print(
        f"sealed kills, {kind}: {len(kills)}; {within} died within it, {lost} lost something, {unread} files don't "
        f"open, {bare} lie open",
        flush=True,
    )


def _until_killed(side: Side, rng: random.Random) -> list[dict[str, Any]]:
    """What a process said until it was killed at a random moment."""
    side.hear(300)
    time.sleep(rng.uniform(0.0, LONGEST))
    side.kill()
    told = []
    with contextlib.suppress(Ended, ValueError):  # a last line may be cut
        while True:
            told.append(side.hear(10))
    return told


def _opens(path: Path, keys: Keys, content: bytes | None) -> bool:
    try:
        found = read_sealed(path, keys, purpose=purpose_of(path)) if is_sealed(path) else None
    except (ValueError, OSError):
        return False
    return found is not None and (content is None or found == content)
