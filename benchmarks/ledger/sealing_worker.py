"""A process of its own that seals as it is told, a line of JSON, until it is killed: states of a run, or other keys."""

import contextlib
import io
import json
import random
import sys
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

MARK = b"no one reads this"
"""What every state holds, again and again: where it lies on the disk, something was written open."""
IDENTITY = {"config": "of the benchmark of kills"}


def _say(**answer: Any) -> None:
    print(json.dumps(answer), flush=True)


def state_of(step: int, size: int) -> dict[str, np.ndarray]:
    """A state that says of which step it is, all over."""
    return {"mark": np.frombuffer(MARK * 1000, np.uint8), "step": np.full(size, step, np.int32)}


def states(told: dict[str, Any]) -> None:
    """Keep states, and say of each that it is on the disk."""
    from dpjax.encryption.keys import keys_from
    from dpjax.sealed_checkpoints import SealedCheckpoints

    kept = SealedCheckpoints(Path(told["folder"]), IDENTITY, keys_from(told["keys"]))
    _say(ready=True)
    for step in count(told["first"]):
        kept.save(step, state_of(step, told["size"]))  # once the one before is on the disk
        _say(kept=step - 1)


def rotation(told: dict[str, Any]) -> None:
    """Make a key, give it to all files, and again, as who types the two commands."""
    from dpjax.cli.app import run

    rng = random.Random(told["seed"])  # nosec B311 # secures nothing
    for number in count():
        with contextlib.redirect_stdout(io.StringIO()):
            done = run(["keys", "new", "--to", told["keys"]]) == 0
            files = rng.sample(told["files"], len(told["files"]))
            done = run(["keys", "rotate", *files, "--keys", told["keys"]]) == 0 and done
        _say(**({"rotated": done} if number else {"ready": done}))  # the first has imported everything


def main() -> None:
    """Do what the line says."""
    told = json.loads(sys.stdin.readline())
    {"states": states, "rotation": rotation}[told["what"]](told)


if __name__ == "__main__":
    main()
