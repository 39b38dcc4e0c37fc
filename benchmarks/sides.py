"""Two revisions side by side: a process each, with its own code and the same installed packages."""

import contextlib
import json
import os
import selectors
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
"""The working tree."""


@contextlib.contextmanager
def checked_out(revision: str) -> Iterator[Path]:
    """A tree of what git knows as ``revision``, beside the working tree, for as long as it is used."""
    git = ["git", "-C", str(ROOT), "worktree"]
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        subprocess.run([*git, "add", "--quiet", "--detach", str(tree), revision], check=True)
        try:
            yield tree
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)


class Ended(SystemExit):
    """The process of a side is gone; what it said itself stands above."""


class Side:
    """A process that runs a file with the code of one tree, and answers a line of JSON with one.

    Args:
      tree: its code.
      program: the file, which imports nothing of its own folder.
      folder: where it runs.
      environment: what is set for it besides.
    """

    def __init__(self, tree: Path, program: Path, folder: Path, environment: Mapping[str, str] | None = None):
        # -P keeps the program's own folder off the path, so that every import is the tree's.
        self.folder = folder
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(program.resolve()), "--serve"],
            cwd=folder,
            env=os.environ | dict(environment or {}) | {"PYTHONPATH": str(tree)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, request: Any) -> None:
        """Hand it a request, and go on."""
        assert self._process.stdin is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)

    def hear(self, seconds: float | None = None) -> Any:
        """Wait for its answer, so long at most.

        Raises:
          TimeoutError: there is none yet.
          Ended: there will be none.
        """
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(seconds):
                raise TimeoutError(f"no answer within {seconds:g} s")
        line = self._process.stdout.readline()
        if not line:
            raise Ended("a side's process ended; its own message stands above.")
        return json.loads(line)

    def ask(self, **request: Any) -> Any:
        """Hand it a request and wait for the answer."""
        self.tell(request)
        return self.hear()

    def kill(self) -> None:
        """End it at once, whatever it does."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Let it end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def __enter__(self) -> "Side":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
