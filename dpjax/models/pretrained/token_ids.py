"""Texts that somebody else has tokenized: their ids as rows of one length, held to the checkpoint's vocabulary."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from dpjax.models.pretrained.tensor_files import CheckpointError
from dpjax.models.pretrained.tokens import Encoded, TextTokenizer
from dpjax.models.transformers.transformer import PADDING


def encode_ids(
    rows: Sequence[Int[np.ndarray, "_"]] | np.ndarray, tokenizer: TextTokenizer, max_length: int, *, what: str = "ids"
) -> Encoded:
    """Token ids as ``TextTokenizer.encode`` would give them: nothing is put before or after them.

    Formal guarantees: a row of the result depends on that row, the tokenizer and ``max_length`` alone.

    Args:
      rows: ids of one text each, as the checkpoint's tokenizer gives them, with what comes before and after a text.
      tokenizer: of the checkpoint that reads them.
      max_length: tokens of a row; longer ones lose their end, but for what the tokenizer puts after a text, as where
        texts are cut.
      what: names the rows in messages.

    Returns:
      The rows; ``answer`` is 0.

    Raises:
      CheckpointError: a row without ids, an id that the vocabulary has not, or ``max_length`` too small.

    Example:
      >>> from dpjax.models.pretrained import word_tokenizer
      >>> encode_ids([np.array([2, 3, 2, 3, 2, 1])], word_tokenizer(["a", "b"]), 4).ids.tolist()
      [[2, 3, 2, 1]]
    """
    least = max(4, len(tokenizer.opening) + len(tokenizer.closing) + 1)
    if max_length < least:
        raise CheckpointError(f"max_length is {max_length}, which leaves no room for a text; use at least {least}.")
    closing = np.asarray(tokenizer.closing, np.int64)
    table = np.full((len(rows), max_length), PADDING, np.int32)
    for place, row in enumerate(rows):
        if not len(row):
            raise CheckpointError(f"{what}: a row holds no ids; leave it out.")
        if not 0 <= (worst := int(row.min() if row.min() < 0 else row.max())) < tokenizer.vocab_size:
            raise CheckpointError(
                f"{what} holds the id {worst}, and the checkpoint's vocabulary ends at {tokenizer.vocab_size - 1}; "
                "take the checkpoint whose tokenizer made them, or tokenize the texts anew."
            )
        if len(row) > max_length:
            end = closing if len(closing) and np.array_equal(row[-len(closing) :], closing) else closing[:0]
            row = np.concatenate([row[: max_length - len(end)], end])
        table[place, : len(row)] = row
    cut = np.array([len(row) > max_length for row in rows], bool)
    return Encoded(table, np.zeros(len(rows), np.int32), cut)
