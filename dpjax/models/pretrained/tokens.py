"""From texts to token ids and back, with no padding token and no text that can pose as a special token."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int32

from dpjax.models.pretrained.files import CheckpointError
from dpjax.models.transformers.transformer import PADDING


class Encoded(NamedTuple):
    """Texts as rows of one length.

    Attributes:
      ids: ``[texts, length]``; ``PADDING`` beyond a text's end.
      answer: ``[texts]`` the first token of the second text of a pair; 0 where there is one text only.
      cut: ``[texts]``; True where a text was longer and lost its end.
    """

    ids: Int32[np.ndarray, "texts length"]
    answer: Int32[np.ndarray, "texts"]
    cut: Bool[np.ndarray, "texts"]


@dataclass(frozen=True)
class TextTokenizer:
    """A checkpoint's tokenizer.

    Attributes:
      raw: the ``tokenizers.Tokenizer``, padding and truncation off.
      separator: id of the token that ends a text (``[SEP]``, ``<|im_end|>``, ``<|endoftext|>``); None if it has none.
      mask: id of ``[MASK]``; None if it has none.
      framed: whether the tokenizer itself puts special tokens around a text, as BERT's does.
    """

    raw: Any = field(repr=False)
    separator: int | None
    mask: int | None
    framed: bool

    @property
    def vocab_size(self) -> int:
        """Ids that it can give: one more than the largest."""
        return max(self.raw.get_vocab(with_added_tokens=True).values(), default=-1) + 1

    def encode(self, texts: Sequence[str] | Sequence[tuple[str, str]] | np.ndarray, max_length: int) -> Encoded:
        """Token ids of texts, or of pairs of texts.

        A text that is written like a special token (``"[SEP]"``) is read as the letters it is made of. A tokenizer that
        frames nothing gets its separator after each text, so that a model can learn where texts end.

        Args:
          texts: one string each, or two.
          max_length: tokens of a row; longer texts lose their end, a pair's longer text first.

        Raises:
          CheckpointError: ``max_length`` too small to hold any text.

        Example:
          >>> word_tokenizer(["a", "b"]).encode(["a b", "b"], max_length=4).ids.tolist()
          [[2, 3, 1, -1], [3, 1, -1, -1]]
        """
        if max_length < 4:
            raise CheckpointError(f"max_length is {max_length}, which leaves no room for a text; use at least 4.")
        rows, answers, cut = [], [], []
        items = [(str(t[0]), str(t[1])) if _is_pair(t) else (str(t), None) for t in texts]
        for own, partner in self._tokenized(items):
            room = max_length - self._frame(partner is not None)
            kept, kept_partner = _fit(own, partner, room)
            cut.append(len(kept) + len(kept_partner or ()) < len(own) + len(partner or ()))
            ids, answer = self._joined(kept, kept_partner)
            rows.append(ids)
            answers.append(answer)
        table = np.full((len(rows), max_length), PADDING, np.int32)
        for row, ids in zip(table, rows, strict=True):
            row[: len(ids)] = ids
        return Encoded(table, np.asarray(answers, np.int32), np.asarray(cut, bool))

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text of some ids; special tokens and padding are left out."""
        return self.raw.decode([int(i) for i in ids if i >= 0], skip_special_tokens=True)

    def _tokenized(self, items: Sequence[tuple[str, str | None]]) -> list[tuple[list[int], list[int] | None]]:
        flat = [text for item in items for text in item if text is not None]
        ids = iter(each.ids for each in self.raw.encode_batch(flat, add_special_tokens=False))
        return [(next(ids), None if second is None else next(ids)) for _, second in items]

    def _frame(self, pair: bool) -> int:
        if self.framed:
            return self.raw.num_special_tokens_to_add(pair)
        return 0 if self.separator is None else 1

    def _joined(self, own: list[int], partner: list[int] | None) -> tuple[list[int], int]:
        if not self.framed:
            last = [] if self.separator is None else [self.separator]
            return [*own, *(partner or ()), *last], len(own) if partner is not None else 0
        start, end = self.raw.token_to_id("[CLS]"), self.separator or 0
        first = [start, *own, end]
        return (first, 0) if partner is None else ([*first, *partner, end], len(first))


def _is_pair(item: object) -> bool:
    return not isinstance(item, str) and np.size(item) == 2  # pyright: ignore[reportArgumentType]


def _fit(own: list[int], partner: list[int] | None, room: int) -> tuple[list[int], list[int] | None]:
    """Cuts the longer of two texts until both fit."""
    if partner is None:
        return own[: max(room, 0)], None
    over = len(own) + len(partner) - room
    if over <= 0:
        return own, partner
    keep_partner = max(min(len(partner), room // 2), room - len(own))
    return own[: room - keep_partner], partner[:keep_partner]


def read_tokenizer(path: Path, special: dict[str, str], vocab_size: int) -> TextTokenizer:
    """A checkpoint's ``tokenizer.json``.

    Args:
      path: of the file.
      special: what ``tokenizer_config.json`` says of ``eos_token`` and the like.
      vocab_size: rows of the embedding it must fit.

    Raises:
      CheckpointError: there is none, it is damaged, or it gives ids that the embedding does not have.
    """
    from tokenizers import Tokenizer

    if not path.is_file():
        raise CheckpointError(f"{path.parent} has no {path.name}; take the whole checkpoint.")
    try:
        raw = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise CheckpointError(f"{path} is damaged ({str(error).splitlines()[0]}); fetch it again.") from error
    return fitted(raw, special, vocab_size, str(path))


def fitted(raw: Any, special: dict[str, str], vocab_size: int, what: str) -> TextTokenizer:
    """A ``tokenizers.Tokenizer`` made ready, and checked against the embedding."""
    raw.no_padding()
    raw.no_truncation()
    raw.encode_special_tokens = True  # a text must not be able to say "[SEP]"
    framed = raw.token_to_id("[CLS]") is not None and raw.token_to_id("[SEP]") is not None
    end = "[SEP]" if framed else special.get("eos_token", "<|endoftext|>")
    made = TextTokenizer(raw, raw.token_to_id(end), raw.token_to_id("[MASK]"), framed)
    if made.vocab_size > vocab_size:
        raise CheckpointError(
            f"{what} gives ids up to {made.vocab_size - 1}, but the embedding has {vocab_size} rows; the tokenizer "
            "belongs to another model."
        )
    return made


def word_tokenizer(words: Sequence[str]) -> TextTokenizer:
    """A tokenizer of whole words, for examples and tests; 0 is unknown, 1 ends a text.

    Example:
      >>> word_tokenizer(["fine"]).encode(["fine day"], 4).ids.tolist()
      [[2, 0, 1, -1]]
    """
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = {word: i for i, word in enumerate(["<unk>", "<end>", *words])}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.add_special_tokens(["<end>"])
    return fitted(raw, {"eos_token": "<end>"}, len(vocabulary), "word_tokenizer")
