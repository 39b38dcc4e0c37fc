"""Short texts of one owner in one row, and of two owners in none."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Int32

from dpjax.models.pretrained.tensor_files import CheckpointError
from dpjax.models.pretrained.tokens import Encoded
from dpjax.models.transformers.transformer import PADDING


class Packed(NamedTuple):
    """Rows of several texts each.

    Attributes:
      ids: ``[rows, length]``; each text ends with the separator, ``PADDING`` beyond the last.
      owners: ``[rows]`` whose a row is.
      texts: ``[rows]`` how many texts it holds.
    """

    ids: Int32[np.ndarray, "rows length"]
    owners: Int[np.ndarray, "rows"]
    texts: Int32[np.ndarray, "rows"]


def pack_rows(rows: Encoded, owners: Int[np.ndarray, "texts"] | None, separator: int | None) -> Packed:
    """Packs texts into fewer rows of the same length, for a model with ``Plan(separator=...)``.

    Formal guarantees: a packed row holds texts of one owner alone and depends on that owner's texts alone, so that it
    is one unit, or a record of one: clipping bounds what it contributes, and nobody else is in its gradient. With
    ``Plan(separator=...)`` and ``causal(model, separator)`` its score is the sum of its texts' own.

    Args:
      rows: whole texts, as ``TextTokenizer.encode`` gives them.
      owners: ``[texts]`` whose each is. None: each text is a unit by itself, and nothing may be packed.
      separator: id that ends each text.

    Returns:
      Rows by owner, in the order of their first texts.

    Raises:
      CheckpointError: no owners, no separator, pairs or conversations, or a text without its separator at its end.

    Example:
      >>> ids = np.array([[5, 1, -1, -1], [6, 1, -1, -1], [7, 1, -1, -1]], np.int32)
      >>> rows = Encoded(ids, np.zeros(3, np.int32), np.zeros(3, bool))
      >>> packed = pack_rows(rows, np.array([0, 1, 0]), 1)
      >>> packed.ids.tolist(), packed.owners.tolist()
      ([[5, 1, 7, 1], [6, 1, -1, -1]], [0, 1])
    """
    if owners is None:
        raise CheckpointError(
            "owners=None: each text is a unit by itself, and a row of two would have both in one gradient, which no "
            "clip norm bounds for one; leave them as they are, or say whose they are."
        )
    if len(owners) != len(rows.ids):
        raise CheckpointError(f"owners are of {len(owners)} texts, and there are {len(rows.ids)}; give one for each.")
    if separator is None:
        raise CheckpointError("separator=None: the tokenizer ends texts with no token, so they can't share a row.")
    if rows.answer.any():
        raise CheckpointError("rows hold pairs or conversations, of which a part counts; pack whole texts alone.")
    open_rows: dict[int, list[int]] = {}
    done: list[tuple[list[int], int]] = []
    length = rows.ids.shape[1]
    for place, (ids, owner) in enumerate(zip(rows.ids, owners.tolist(), strict=True)):
        text = ids[ids >= 0].tolist()
        if not text or text[-1] != separator or separator in text[:-1]:
            raise CheckpointError(
                f"text {place + 1} must hold the separator {separator} at its end and nowhere else; leave it by itself."
            )
        row = open_rows.get(owner)
        if row is None or len(row) + len(text) > length:
            row = []
            done.append((row, owner))
            open_rows[owner] = row
        row += text
    table = np.full((len(done), length), PADDING, np.int32)
    for line, (row, _) in zip(table, done, strict=True):
        line[: len(row)] = row
    texts = np.array([row.count(separator) for row, _ in done], np.int32)
    return Packed(table, np.array([owner for _, owner in done], owners.dtype), texts)
