"""A pytree of arrays kept on disk under way, sealed: whole or not at all, never of another run, for its keys alone."""

import json
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from dpjax.checkpoints import SEALED_ENDING, CheckpointError, Checkpoints
from dpjax.encryption.errors import ChangedError, EncryptionError
from dpjax.encryption.keys import Keys
from dpjax.encryption.reader import SealedReader, is_sealed
from dpjax.encryption.writer import SealedWriter
from dpjax.keeping import discard_leftovers
from dpjax.state_leaves import leaves_of, rebuilt, shapes_of

_STATE = re.compile(rf"(\d+){re.escape(SEALED_ENDING)}")
_KEPT = 2
_LENGTH = 8


class SealedCheckpoints(Checkpoints):
    """The last two states of one run, sealed, in a folder of its own; used as ``Checkpoints`` is.

    Formal guarantees: those of ``Checkpoints``, of which the hash is the authentication of the sealed file, whose
    content says of which run and step it is. Who holds no key reads nothing of a state but its size, its step and the
    time, and changes none unnoticed; who can write to the folder can still take states away, or put an older one of the
    same run back. What is kept is NOT a release.

    Args:
      folder: of this run alone; made when first needed.
      identity: what the run is and runs on, name → value; a state of another is refused.
      keys: whose first seals what is saved; what is restored may be of any of them.

    Example:
      >>> import tempfile
      >>> from dpjax.encryption.keys import new_key, ring_of
      >>> keys = ring_of(new_key(), "this example")
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     kept = SealedCheckpoints(Path(folder, "run"), {"seed": "0"}, keys)
      ...     kept.save(3, {"w": jnp.arange(3.0), "key": jax.random.key(1), "nothing": jnp.zeros((0, 2))})
      ...     kept.close()
      ...     step, tree = SealedCheckpoints(Path(folder, "run"), {"seed": "0"}, keys).restore(
      ...         {"w": jnp.zeros(3), "key": jax.random.key(0), "nothing": jnp.zeros((0, 2))})
      >>> step, tree["w"].tolist(), tree["key"] == jax.random.key(1)
      (3, [0.0, 1.0, 2.0], Array(True, dtype=bool))
    """

    def __init__(self, folder: Path, identity: Mapping[str, str], keys: Keys) -> None:
        super().__init__(folder, identity)
        self._keys = keys
        self._behind: ThreadPoolExecutor | None = None
        self._writing: Future[None] | None = None

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
        # A copy, as an array on a CPU shares its memory, which a step that is given it may reuse.
        leaves = {name: np.array(leaf, copy=True) for name, leaf in leaves_of(tree).items()}
        self._wait()
        if self._behind is None:
            self._behind = ThreadPoolExecutor(max_workers=1, thread_name_prefix="dpjax-sealed-states")
        self._writing = self._behind.submit(self._write, step, leaves)

    def close(self) -> None:
        """Wait until all is on disk."""
        try:
            self._wait()
        finally:
            behind, self._behind = self._behind, None
            if behind is not None:
                behind.shutdown()
            self._let_go()

    def _wait(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None:
            with self._written():
                writing.result()

    @contextmanager
    def _written(self) -> Iterator[None]:
        with super()._written():
            try:
                yield
            except EncryptionError as error:
                raise CheckpointError(f"the checkpoint {self.folder} can't be sealed: {error}") from error

    def _write(self, step: int, leaves: Mapping[str, np.ndarray]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        head = json.dumps({"run": self.identity, "step": step, "leaves": shapes_of(leaves)}).encode()
        with SealedWriter(self._place_of(step), self._keys, purpose="checkpoint", durable=True) as stream:
            stream.write(len(head).to_bytes(_LENGTH, "big") + head)
            for leaf in leaves.values():
                stream.write(_bytes_of(leaf))
        for older in self._steps()[_KEPT:]:
            self._place_of(older).unlink(missing_ok=True)

    def _newest(self, like: PyTree) -> tuple[int, PyTree] | None:
        if plain := [each.name for each in self.folder.iterdir() if each.is_dir() and each.name.isdigit()]:
            raise CheckpointError(
                f"the checkpoint {self.folder / plain[0]} is not sealed; run with governance.seal=false "
                f"(Checkpoints in Python), or take the folder {self.folder.name} away to begin anew."
            )
        discard_leftovers(self.folder)
        steps = self._steps()
        for i, step in enumerate(steps):
            place = self._place_of(step)
            try:
                if not is_sealed(place):
                    raise ChangedError("it is no sealed file")
                with SealedReader(place, self._keys, purpose="checkpoint") as stream:
                    said = _head_of(stream, step)
                    self._refuse_other(step, said["run"])
                    wanted = jax.eval_shape(leaves_of, like)
                    self._refuse_shapes(step, said["leaves"], wanted)
                    found = {name: _leaf_of(stream, leaf) for name, leaf in wanted.items()}
                    if stream.tell() != stream.size:
                        raise ChangedError("it holds more than it says")
            except CheckpointError:
                raise
            except EncryptionError as error:
                if not isinstance(error, ChangedError):  # the keys are not there: nothing says that it is damaged
                    raise CheckpointError(f"the checkpoint can't be opened: {error}") from error
                self._put_aside(step, steps[i + 1] if i + 1 < len(steps) else None, error)
                continue
            except OSError as error:
                self._put_aside(step, steps[i + 1] if i + 1 < len(steps) else None, error)
                continue
            return step, rebuilt(like, found)
        return None

    def _steps(self) -> list[int]:
        """Of the states that are there, the newest first."""
        found = (_STATE.fullmatch(each.name) for each in self.folder.iterdir())
        return sorted((int(each[1]) for each in found if each), reverse=True)

    def _place_of(self, step: int) -> Path:
        return self.folder / f"{step}{SEALED_ENDING}"


def _head_of(stream: SealedReader, step: int) -> dict[str, Any]:
    length = int.from_bytes(stream.read(_LENGTH), "big")
    try:
        said = json.loads(stream.read(min(length, stream.size)))
    except ValueError:
        said = None
    if not isinstance(said, dict) or not {"run", "step", "leaves"} <= said.keys():
        raise ChangedError("it is no state of this kind")
    if said["step"] != step:
        raise ChangedError(f"it was kept as {said['step']}")
    return said


def _leaf_of(stream: SealedReader, leaf: jax.ShapeDtypeStruct) -> jax.Array:
    array = np.empty(leaf.shape, leaf.dtype)
    if stream.readinto(_bytes_of(array)) < array.nbytes:
        raise ChangedError("it holds less than it says")
    return jnp.asarray(array)


def _bytes_of(array: np.ndarray) -> memoryview:
    return array.reshape(-1).view(np.uint8).data  # dtypes of machine learning have no buffers of their own
