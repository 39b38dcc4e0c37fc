"""Texts turned into vectors once, by a frozen model, and kept: a head is then trained in seconds."""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float32, Int32

from dpjax.keeping import whole_file
from dpjax.models.objectives import by_length
from dpjax.models.transformers import Architecture, Head, Plan
from dpjax.models.tuning import fine_tune
from dpjax.models.tuning_methods import Method

BATCH = 32


def embed(
    arch: Architecture,
    params: dict[str, np.ndarray],
    ids: Int32[np.ndarray, "texts length"],
    head: Head | None = None,
    *,
    plan: Plan | None = None,
    lengths: Sequence[int] = (),
    scan_layers: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Float32[np.ndarray, "texts width"]:
    """One vector per text, by the model as it is.

    Formal guarantees: a text's vector depends on that text alone, so that a head trained on vectors has the ε of a head
    trained on texts.

    Args:
      arch: of the model.
      params: its parameters by path.
      ids: token ids, ``PADDING`` beyond a text's end.
      head: its pooling; the mean over tokens if None.
      plan, scan_layers: see ``fine_tune``.
      lengths: what rows are cut to, ascending; each is compiled by itself. (): one length for all.
      progress: told (texts done, texts in all).
    """
    head = head or Head()
    tuned = fine_tune(
        arch,
        params,
        Head("embed", pooling=head.pooling, normalized=head.normalized),
        Method("full"),
        plan=plan,
        scan_layers=scan_layers,
    )
    everything = tuned.bind(tuned.frozen)(tuned.start)
    apply = jax.jit(jax.vmap(lambda params, row: tuned.model.apply(params, row, None), in_axes=(None, 0)))
    out = np.zeros((len(ids), arch.width), np.float32)
    done = 0
    for rows, numbers in by_length(ids, np.arange(len(ids)), tuple(lengths) or (ids.shape[1],)):
        for first in range(0, len(rows), BATCH):
            # The last batch is filled up, so that it needs no program of its own.
            at = np.minimum(np.arange(first, first + BATCH), len(rows) - 1)
            out[np.asarray(numbers[at])] = np.asarray(apply(everything, rows[at]))
            done = min(done + BATCH, len(ids))
            if progress is not None:
                progress(done, len(ids))
    return out


def computed_once(compute: Callable[[], np.ndarray], folder: Path, *names: Any) -> np.ndarray:
    """An array that is read from a folder if it is there, else computed and put there, whole or not at all.

    Args:
      compute: gives the array.
      folder: of such arrays; made if it is not there.
      *names: all that the array depends on; arrays by their content.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     first = computed_once(lambda: np.ones(2), Path(folder), "ones")
      ...     print(computed_once(lambda: np.zeros(2), Path(folder), "ones"))
      [1. 1.]
    """
    digest = hashlib.sha256()
    for name in names:
        digest.update(np.ascontiguousarray(name).tobytes() if isinstance(name, np.ndarray) else repr(name).encode())
        digest.update(b"|")
    path = folder / f"{digest.hexdigest()[:32]}.npy"
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError):  # not there, or cut short by a full disk
        pass
    array = compute()
    folder.mkdir(parents=True, exist_ok=True)
    # A full disk costs the next run its head start, and nothing else.
    with suppress(OSError), whole_file(path) as part, part.open("wb") as file:
        np.save(file, array)
    return array
