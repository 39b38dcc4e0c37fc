"""A pytree of arrays kept on disk under way, by orbax: whole or not at all, and never of another run."""

from __future__ import annotations

import errno
import glob
import hashlib
import itertools
import json
import logging
import os
import re
import shutil
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import jax
from jaxtyping import PyTree

from dpjax.checks import in_one_line
from dpjax.keeping import LOCK_ENDING, this_process
from dpjax.state_leaves import hash_of, leaves_of, rebuilt, shapes_of

_META, _LEAVES = "identity", "leaves"
_SEALED = ("run", "step", "sha256", "leaves")

SEALED_ENDING = ".sealed"
"""Of a state that ``dpjax.sealed_checkpoints`` keeps."""

_SAVING = threading.Lock()
"""Orbax 0.12.8 counts its saves by process: of two managers that begin one at a time in two threads, neither ends."""


class CheckpointError(ValueError):
    """A checkpoint that can't be gone on from, or can't be written: one sentence with the folder and the fix."""


class Checkpoints:
    """The last two states of one run, in a folder of its own.

    Formal guarantees: what ``restore`` gives is what ``save`` was given, to the last bit: a hash of all leaves is kept
    beside them and compared, as orbax itself restores damaged arrays without a word
    (``findings/orbax_restores_a_flipped_bit_without_a_word.sh``); so is one of their step and run. A kill at any moment
    leaves the states before it. One process at a time keeps states in a folder, by a lock that ends with it; another
    that runs the same finds nothing there and keeps nothing, with a warning. What is kept holds the noise key and is
    NOT a release: the folder is to be as private as the data, or its states sealed (``dpjax.sealed_checkpoints``).

    Args:
      folder: of this run alone; made when first needed.
      identity: what the run is and runs on, name → value; a state of another is refused.

    Example:
      >>> import tempfile
      >>> import jax.numpy as jnp
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     kept = Checkpoints(Path(folder, "run"), {"seed": "0"})
      ...     kept.save(3, {"w": jnp.arange(3.0), "key": jax.random.key(1), "nothing": jnp.zeros((0, 2))})
      ...     kept.close()
      ...     step, tree = Checkpoints(Path(folder, "run"), {"seed": "0"}).restore(
      ...         {"w": jnp.zeros(3), "key": jax.random.key(0), "nothing": jnp.zeros((0, 2))})
      >>> step, tree["w"].tolist(), tree["key"] == jax.random.key(1)
      (3, [0.0, 1.0, 2.0], Array(True, dtype=bool))

    References:
      orbax, https://github.com/google/orbax.
    """

    def __init__(self, folder: Path, identity: Mapping[str, str]) -> None:
        self.folder, self.identity = Path(folder).absolute(), dict(identity)
        self._open: Any = None
        self._lock: int | None = None
        self._told = False
        self._place: tempfile.TemporaryDirectory[str] | None = None

    def restore(self, like: PyTree) -> tuple[int, PyTree] | None:
        """The newest state that is whole, and its step; None where nothing was kept.

        Args:
          like: a state of the same structure, shapes and dtypes.

        Raises:
          CheckpointError: it is of another run.
        """
        if not self.folder.is_dir() or not self._is_held():
            return None
        try:
            return self._newest(like)
        except CheckpointError:
            self.close()
            raise

    def save(self, step: int, tree: PyTree) -> None:
        """Keep a state; it is copied before this returns, and written behind it.

        Args:
          step: steps done; above those that are kept.
          tree: any pytree of arrays and typed keys.

        Raises:
          CheckpointError: the one before could not be written.
        """
        if not self._is_held():
            return
        import orbax.checkpoint as ocp

        leaves = leaves_of(tree)
        meta = {"run": self.identity, "step": step, "sha256": hash_of(leaves), "leaves": shapes_of(leaves)}
        meta["seal"] = _seal(meta)
        parts = {_META: ocp.args.JsonSave(meta)} | ({_LEAVES: ocp.args.StandardSave(leaves)} if leaves else {})
        with self._written(), _SAVING:
            self._manager().save(step, args=ocp.args.Composite(**parts), force=True)

    def close(self) -> None:
        """Wait until all is on disk."""
        manager, self._open = self._open, None
        try:
            if manager is not None:
                with self._written():
                    try:
                        manager.wait_until_finished()
                    finally:
                        manager.close()
        finally:
            if self._place is not None:
                self._place.cleanup()
                self._place = None
            self._let_go()

    def _let_go(self) -> None:
        if self._lock is not None:
            with suppress(OSError):
                os.ftruncate(self._lock, 0)  # a process that goes on keeps it no more
            os.close(self._lock)
            self._lock = None

    @contextmanager
    def _written(self) -> Iterator[None]:
        """What is not written, on a full disk say, is said by this state or by the one after it."""
        try:
            if self.folder.exists() and not self.folder.is_dir():
                raise NotADirectoryError("it is a file")
            yield
        except CheckpointError:
            raise
        except Exception as error:  # orbax hands on what others raise, of any type
            logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # which repeats it for every file
            why = _of_the_disk(error)
            raise CheckpointError(
                f"the checkpoint {self.folder} can't be written ({why.strerror or in_one_line(str(error), 120)}); make "
                "room, or name another results_dir."
            ) from why

    def clear(self) -> None:
        """Take away all that was kept, but what another process is keeping."""
        self.close()
        if not self.folder.is_dir() or (lock := _locked(self.folder)) is None:
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.with_name(f"{self.folder.name}{LOCK_ENDING}").unlink(missing_ok=True)
        os.close(lock)

    def _newest(self, like: PyTree) -> tuple[int, PyTree] | None:
        import orbax.checkpoint as ocp

        if any(self.folder.glob(f"*{SEALED_ENDING}")):
            raise CheckpointError(
                f"the checkpoint {self.folder} is sealed; run with governance.seal=true and its keys in DPJAX_KEYS "
                f"(SealedCheckpoints in Python), or take the folder {self.folder.name} away to begin anew."
            )
        steps = sorted(self._manager().all_steps(), reverse=True)
        for i, step in enumerate(steps):
            before = steps[i + 1] if i + 1 < len(steps) else None
            try:
                manager = self._manager()
                meta: Any = manager.restore(step, args=ocp.args.Composite(**{_META: ocp.args.JsonRestore()}))[_META]
                _check_sealed(meta, step)
            except Exception as error:  # whatever a damaged file makes of its readers
                self._put_aside(step, before, error)
                continue
            self._refuse_other(step, meta["run"])
            wanted = jax.eval_shape(leaves_of, like)
            self._refuse_shapes(step, meta["leaves"], wanted)
            try:
                leaves = ocp.args.Composite(**{_LEAVES: ocp.args.StandardRestore(wanted)})
                found: Any = manager.restore(step, args=leaves)[_LEAVES] if wanted else {}
                if hash_of(found) != meta["sha256"]:
                    raise ValueError("its numbers are not those that were kept")
            except Exception as error:
                self._put_aside(step, before, error)
                continue
            return step, rebuilt(like, found)
        return None

    def _manager(self) -> Any:
        if self._open is None:
            import orbax.checkpoint as ocp

            logging.getLogger("absl").setLevel(logging.CRITICAL)  # tracebacks of what is said in a sentence here
            with self._written():
                options = ocp.CheckpointManagerOptions(max_to_keep=2, create=True, enable_async_checkpointing=True)
                self._open = ocp.CheckpointManager(self._plain_folder(), options=options)
        return self._open

    def _plain_folder(self) -> Path:
        """The folder by a name without brackets: orbax takes ``model.hidden=[64,32]`` for a pattern, which no file of a
        state it has written fits, and finds none of its arrays.
        """
        if not glob.has_magic(str(self.folder)):
            return self.folder
        if self._place is None:
            self._place = tempfile.TemporaryDirectory(prefix="dpjax-states-")
            Path(self._place.name, "folder").symlink_to(self.folder.parent, target_is_directory=True)
        return Path(self._place.name, "folder", self.folder.name)

    def _is_held(self) -> bool:
        """Whether the folder is this process's: two that keep the same run would take each other's states away."""
        if self._lock is None:
            with self._written():
                self.folder.parent.mkdir(parents=True, exist_ok=True)
                self._lock = _locked(self.folder)
        if self._lock is None and not self._told:
            warnings.warn(
                f"the checkpoint {self.folder} is kept by another process, which runs the same job; this one goes on "
                "without: end one of them, or give it another results_dir.",
                stacklevel=3,
            )
            self._told = True
        return self._lock is not None

    def _put_aside(self, step: int, before: int | None, error: Exception) -> None:
        """A damaged state, out of the way of the run that comes by there again."""
        place, said = self._place_of(step), in_one_line(str(error), 120)
        then = "the run begins anew" if before is None else f"the one before it, of step {before}, is used"
        warnings.warn(f"the checkpoint {place} is damaged ({said}) and put aside; {then}.", stacklevel=3)
        asides = (
            place.with_name(name)
            for name in itertools.chain([f"damaged-{step}"], (f"damaged-{step}-{i}" for i in itertools.count(2)))
        )
        # Orbax's manager remembers what a foreign state held, and reads no other kind from then on.
        manager, self._open = self._open, None
        with self._written():
            if manager is not None:
                manager.close()
            place.rename(next(aside for aside in asides if not aside.exists()))

    def _place_of(self, step: int) -> Path:
        return self.folder / str(step)

    def _refuse_shapes(self, step: int, found: str, wanted: Mapping[str, Any]) -> None:
        if found != shapes_of(wanted):
            raise CheckpointError(
                f"the checkpoint {self._place_of(step)} is of another model or optimizer; take the folder "
                f"{self.folder.name} away to begin anew."
            )

    def _refuse_other(self, step: int, run: Mapping[str, Any]) -> None:
        for name, mine in self.identity.items():
            if (was := run.get(name)) != mine:
                raise CheckpointError(
                    f"the checkpoint {self._place_of(step)} is of another {name} ({in_one_line(str(was), 60)}, not "
                    f"{in_one_line(mine, 60)}); take the folder {self.folder.name} away to begin anew, or go back to "
                    "what made it."
                )


def _locked(folder: Path) -> int | None:
    """A handle that keeps others from a folder until it is closed; None where another has one."""
    handle = os.open(folder.with_name(f"{folder.name}{LOCK_ENDING}"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:  # of a system that has none
        pass
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            os.close(handle)
            return None  # any other is of a file system that has no locks
    with suppress(OSError):  # whose it is, for `dpjax status`; a full disk is named by what needs it
        os.ftruncate(handle, 0)
        os.pwrite(handle, this_process().encode(), 0)
    return handle


def _seal(meta: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps({name: meta[name] for name in _SEALED}, sort_keys=True).encode()).hexdigest()


def _check_sealed(meta: Any, step: int) -> None:
    """What is said of a state is what was said when it was kept, and where it was."""
    if not isinstance(meta, dict) or not {*_SEALED, "seal"} <= meta.keys():
        raise ValueError("it is no state of this kind")
    if _seal(meta) != meta["seal"]:
        raise ValueError("what is said of it is not what was kept")
    if meta["step"] != step:
        raise ValueError(f"it was kept as {meta['step']}")


def _of_the_disk(error: Exception) -> OSError:
    """What any writer says of the disk, as Python says it: tensorstore's errors have no type of their own."""
    if isinstance(error, OSError):
        return error
    code = re.search(r"os_error_code='(\d+)'", str(error))
    number = errno.ENOSPC if "No space left" in str(error) else int(code[1]) if code else None
    return OSError(in_one_line(str(error), 120)) if number is None else OSError(number, os.strerror(number))
