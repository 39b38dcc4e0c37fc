"""A pytree of arrays kept on disk under way, by orbax: whole or not at all, and never of another run."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from dpjax.checks import in_one_line

_META, _LEAVES = "identity", "leaves"

_SAVING = threading.Lock()
"""Orbax 0.12.8 counts its saves by process: of two managers that begin one at a time in two threads, neither ends."""


class CheckpointError(ValueError):
    """A checkpoint that can't be gone on from, or can't be written: one sentence with the folder and the fix."""


class Checkpoints:
    """The last two states of one run, in a folder of its own.

    Formal guarantees: what ``restore`` gives is what ``save`` was given, to the last bit: a hash of all leaves is kept
    beside them and compared, as orbax itself restores damaged arrays without a word
    (``findings/orbax_restores_a_flipped_bit_without_a_word.sh``). A kill at any moment leaves the states before it.
    What is kept holds the noise key and is NOT a release: the folder is to be as private as the data.

    Args:
      folder: of this run alone; made when first needed.
      identity: what the run is and runs on, name → value; a state of another is refused.

    Example:
      >>> import tempfile
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

    def restore(self, like: PyTree) -> tuple[int, PyTree] | None:
        """The newest state that is whole, and its step; None where nothing was kept.

        Args:
          like: a state of the same structure, shapes and dtypes.

        Raises:
          CheckpointError: it is of another run, or can't be read.
        """
        if not self.folder.is_dir():
            return None
        import orbax.checkpoint as ocp

        manager = self._manager()
        for step in sorted(manager.all_steps(), reverse=True):
            where = f"the checkpoint {self.folder / str(step)}"
            try:
                meta: Any = manager.restore(step, args=ocp.args.Composite(**{_META: ocp.args.JsonRestore()}))[_META]
                hashed, shapes = str(meta["sha256"]), str(meta["leaves"])
            except Exception as error:  # whatever a damaged file makes of its readers
                self._put_aside(step, error)
                continue
            self._refuse_other(where, meta)
            wanted = jax.eval_shape(_leaves, like)
            if shapes != _shapes(wanted):
                raise CheckpointError(f"{where} is of another model or optimizer; take the folder away to begin anew.")
            try:
                leaves = ocp.args.Composite(**{_LEAVES: ocp.args.StandardRestore(wanted)})
                found: Any = manager.restore(step, args=leaves)[_LEAVES] if wanted else {}
                if _hash(found) != hashed:
                    raise ValueError("its numbers are not those that were kept")
            except Exception as error:
                self._put_aside(step, error)
                continue
            return step, _rebuilt(like, found)
        return None

    def save(self, step: int, tree: PyTree) -> None:
        """Keep a state; it is copied before this returns, and written behind it.

        Args:
          step: steps done; above those that are kept.
          tree: any pytree of arrays and typed keys.

        Raises:
          CheckpointError: the one before could not be written.
        """
        import orbax.checkpoint as ocp

        leaves = _leaves(tree)
        meta = {**self.identity, "sha256": _hash(leaves), "leaves": _shapes(leaves)}
        parts = {_META: ocp.args.JsonSave(meta)} | ({_LEAVES: ocp.args.StandardSave(leaves)} if leaves else {})
        with self._written(), _SAVING:
            self._manager().save(step, args=ocp.args.Composite(**parts), force=True)

    def close(self) -> None:
        """Wait until all is on disk."""
        if self._open is not None:
            manager, self._open = self._open, None
            with self._written():
                try:
                    manager.wait_until_finished()
                finally:
                    manager.close()

    @contextmanager
    def _written(self) -> Iterator[None]:
        """What is not written, on a full disk say, is said by this state or by the one after it."""
        try:
            if self.folder.exists() and not self.folder.is_dir():
                raise NotADirectoryError("it is a file")
            yield
        except OSError as error:
            raise CheckpointError(
                f"the checkpoint {self.folder} can't be written ({error.strerror or error}); make room, or name "
                "another results_dir."
            ) from error

    def clear(self) -> None:
        """Take away all that was kept."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _manager(self) -> Any:
        if self._open is None:
            import orbax.checkpoint as ocp

            logging.getLogger("absl").setLevel(logging.ERROR)  # of handlers registered and the like
            options = ocp.CheckpointManagerOptions(max_to_keep=2, create=True, enable_async_checkpointing=True)
            self._open = ocp.CheckpointManager(self.folder, options=options)
        return self._open

    def _put_aside(self, step: int, error: Exception) -> None:
        """A damaged state, out of the way of the run that comes by there again."""
        place, said = self.folder / str(step), in_one_line(str(error), 120)
        warnings.warn(
            f"the checkpoint {place} is damaged ({said}) and put aside; the one before it is used.", stacklevel=3
        )
        place.rename(place.with_name(f"damaged-{step}"))
        self._manager().reload()

    def _refuse_other(self, where: str, meta: Mapping[str, Any]) -> None:
        for name, mine in self.identity.items():
            if (was := meta.get(name)) != mine:
                raise CheckpointError(
                    f"{where} is of another {name} ({in_one_line(str(was), 60)}, not {in_one_line(mine, 60)}); take "
                    "the folder away to begin anew, or go back to what made it."
                )


def _leaves(tree: PyTree) -> dict[str, Any]:
    """Leaves by number, keys as their words; what has no numbers is left out, as orbax stores none of it."""
    found = {}
    for number, leaf in enumerate(jax.tree.leaves(tree)):
        words = jax.random.key_data(leaf) if _is_key(leaf) else jnp.asarray(leaf)
        if words.size:
            found[f"{number:05d}"] = words
    return found


def _rebuilt(like: PyTree, found: Mapping[str, jax.Array]) -> PyTree:
    leaves, structure = jax.tree.flatten(like)
    for number, leaf in enumerate(leaves):
        new = found.get(f"{number:05d}")
        if new is None:  # of no numbers
            leaves[number] = jnp.zeros(leaf.shape, leaf.dtype)
        else:
            leaves[number] = jax.random.wrap_key_data(new, impl=_impl_of(leaf)) if _is_key(leaf) else new
    return jax.tree.unflatten(structure, leaves)


def _impl_of(key: Any) -> Any:
    """How a key draws; of shapes alone nothing but a trace tells."""
    found = []
    jax.eval_shape(lambda traced: found.append(jax.random.key_impl(traced)), key)
    return found[0]


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _shapes(leaves: Mapping[str, Any]) -> str:
    return json.dumps({name: [str(x.dtype), list(x.shape)] for name, x in leaves.items()})


def _hash(leaves: Mapping[str, Any]) -> str:
    content = hashlib.sha256()
    for name in sorted(leaves):
        array = np.ascontiguousarray(leaves[name])
        content.update(f"{name} {array.dtype} {array.shape}".encode())
        content.update(array.view(np.uint8).data if array.ndim else array.tobytes())
    return content.hexdigest()
