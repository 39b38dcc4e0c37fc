"""What a client has sent already, on its own disk: no server can ask it for more than the plan's ε pays for."""

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path

from dpjax.results import write_atomically
from experiments.config import ConfigError


class Ledger:
    """The rounds of a plan that a client has sent something in.

    Formal guarantees: a round is written down, on disk, before anything of it is sent, and never sent twice, whatever
    is killed in between; none beyond the plan's is sent. One process at a time holds it.

    Args:
      path: of the file.
      digest: of the plan.
      num_steps: its rounds.

    Raises:
      ConfigError: it is of another plan, can't be read, or another process holds it.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     ledger = Ledger(Path(folder, "spent.json"), "d1", 3)
      ...     ledger.spend(0)
      ...     ledger.spend(2)
      ...     try:
      ...         ledger.spend(2)
      ...     except ConfigError as error:
      ...         print(error)
      round 2 was answered before, and a second answer would cost ε that the plan does not pay; it is refused.
    """

    def __init__(self, path: Path, digest: str, num_steps: int) -> None:
        self.path, self.digest, self.num_steps = path, digest, num_steps
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError(f"state={path.parent} is in use by another client; give each its own folder.") from error
        self.spent: set[int] = set()
        self.sessions: list[str] = []
        self.seen: dict[int, int] = {}
        if not path.exists():
            return
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            found, rounds = content["plan"], {int(step) for step in content["rounds"]}
            self.sessions = [str(session) for session in content["sessions"]]
            self.seen = {int(number): int(count) for number, count in content["seen"].items()}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{path} can't be read, and says what this client has sent; restore it before it goes on."
            ) from error
        if found != digest:
            raise ConfigError(f"state={path.parent} is of another plan; give this one a folder of its own.")
        self.spent = rounds

    def spend(self, step: int) -> None:
        """Write down that something of a round is about to be sent.

        Raises:
          ConfigError: the plan has no such round, it was answered before, or the disk is full.
        """
        if not 0 <= step < self.num_steps:
            raise ConfigError(f"round {step} is none of the plan's {self.num_steps}; it is refused.")
        if step in self.spent:
            raise ConfigError(
                f"round {step} was answered before, and a second answer would cost ε that the plan does not pay; it is "
                "refused."
            )
        self._write(self.spent | {step}, self.sessions, self.seen)

    def enter(self, session: bytes) -> None:
        """A session of the server's: the one before, or one that was never entered.

        Raises:
          ConfigError: it was left before.
        """
        name = session.hex()
        if self.sessions[-1:] == [name]:
            return
        if name in self.sessions:
            raise ConfigError("this session of the server ended before; start the server anew.")
        self._write(self.spent, [*self.sessions, name], {})

    def see(self, session: bytes, counts: Mapping[int, int]) -> None:
        """Keys of clients are used once: those of an old round may be known to the server.

        Args:
          session: that was entered last.
          counts: client → which of its keys this is.

        Raises:
          ConfigError: keys that are as old as some that were used before.
        """
        old = [number for number, count in counts.items() if count <= self.seen.get(number, 0)]
        if old or self.sessions[-1:] != [session.hex()]:
            raise ConfigError(
                "keys of an earlier round were given again, whose secrets may be known; they are refused."
            )
        self._write(self.spent, self.sessions, self.seen | dict(counts))

    def _write(self, spent: set[int], sessions: list[str], seen: dict[int, int]) -> None:
        content = {"plan": self.digest, "rounds": sorted(spent), "sessions": sessions, "seen": seen}
        write_atomically(self.path, json.dumps(content).encode())
        self.spent, self.sessions, self.seen = spent, sessions, seen

    def close(self) -> None:
        """Let another process have it."""
        os.close(self._lock)
