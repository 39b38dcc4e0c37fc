"""One side of a comparison: a process that runs commands with the code that ``PYTHONPATH`` names.

It is run as a file and imports nothing of its own folder, since of the older revision all code is that revision's.
"""

import contextlib
import importlib
import io
import json
import os
import sys
from pathlib import Path


def answer(words: list[str]) -> tuple[int, str, str]:
    """Exit status, output and error output of a sweep, whose words begin with ``-m``, or of a ``dpjax`` command."""
    printed, refusal = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(refusal):
        if words[0] != "-m":
            status = importlib.import_module("dpjax.cli.app").run([*words, "--json"])
            return status, printed.getvalue(), refusal.getvalue()
        sys.argv = ["run", *words]
        try:
            importlib.import_module("experiments.run").main()
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else 1
        else:
            status = 0
    return status, printed.getvalue(), refusal.getvalue()


def main() -> None:
    """Answer each line of words, in JSON, with one line."""
    tree = Path(importlib.import_module("dpjax").__file__ or "").parents[1]
    assert str(tree) == os.environ["PYTHONPATH"], f"{tree} is not this side's code"
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
