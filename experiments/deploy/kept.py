"""A server's run on disk between rounds, from which the same command goes on."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxtyping import PyTree

from dpjax.checkpoints import Checkpoints
from dpjax.results import write_atomically
from experiments.config import ConfigError


class Kept:
    """States of one plan's run, in a folder that is to be as private as the noise.

    Formal guarantees: a round that was begun is never asked again, and a state is on disk before its parameters leave:
    no noise is ever on two sums. A kill between the two costs that round, as one that was given up.

    Args:
      folder: of the run.
      digest: of the plan.

    Raises:
      ConfigError: what is there can't be read.
    """

    def __init__(self, folder: Path, digest: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._states = Checkpoints(folder / "state", {"plan": digest})
        self._path = folder / "rounds.json"
        self.told: dict[str, Any] = {"plan": digest, "begun": 0, "done": 0}
        if self._path.exists():
            try:
                self.told = json.loads(self._path.read_text(encoding="utf-8"))
                if not isinstance(self.told, dict) or not {"plan", "begun", "done"} <= self.told.keys():
                    raise ValueError("other fields")
            except (OSError, ValueError) as error:
                raise ConfigError(f"{self._path} can't be read; give --out another folder.") from error
            if self.told["plan"] != digest:
                raise ConfigError(f"--out {folder} holds a run of another plan; give another folder.")

    def restore(self, like: PyTree) -> PyTree | None:
        """The state after ``told["done"]`` rounds; None before the first.

        Args:
          like: a state of the same shapes.

        Raises:
          ConfigError: it is gone.
        """
        found = self._states.restore(like)
        if found is None:
            if self.told["done"]:
                raise ConfigError(f"{self._path.parent} has lost its state; give --out another folder, and a new plan.")
            return None
        done, tree = found
        if done < self.told["done"]:
            raise ConfigError(
                f"{self._path.parent} has lost its last state; give --out another folder, and a new plan."
            )
        self.told["done"] = done
        return tree

    def begin(self, step: int) -> None:
        """Write down that a round is about to be asked for.

        Args:
          step: its number, from 0.
        """
        self.told["begun"] = step + 1
        self._write()

    def done(self, step: int, tree: PyTree, told: Mapping[str, Any]) -> None:
        """Keep the state after a round; it is on disk on return.

        Args:
          step: the round's number.
          tree: the state.
          told: what else goes on, as JSON.
        """
        self._states.save(step + 1, tree)
        self._states.close()
        self.told |= {"done": step + 1, **told}
        self._write()

    def _write(self) -> None:
        write_atomically(self._path, json.dumps(self.told).encode())
