"""From texts to token ids and back, with no padding token and no text that can pose as a special token."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int32

from dpjax.models.pretrained.chat_templates import ChatTemplate
from dpjax.models.pretrained.tensor_files import CheckpointError
from dpjax.models.transformers.architecture import Architecture
from dpjax.models.transformers.transformer import PADDING


class Encoded(NamedTuple):
    """Texts as rows of one length.

    Attributes:
      ids: ``[texts, length]``; ``PADDING`` beyond a text's end.
      answer: ``[texts]`` the first token of the second text of a pair; 0 where there is one text only. Of conversations
        ``[texts, length]``, 1 where a token is the assistant's.
      cut: ``[texts]``; True where a text was longer and lost its end.
    """

    ids: Int32[np.ndarray, "texts length"]
    answer: Int32[np.ndarray, "texts *marks"]
    cut: Bool[np.ndarray, "texts"]


@dataclass(frozen=True)
class TextTokenizer:
    """A checkpoint's tokenizer.

    Attributes:
      raw: the ``tokenizers.Tokenizer``, padding and truncation off.
      separator: id of the token that ends a text (``[SEP]``, ``<|im_end|>``, ``<|endoftext|>``); None if it has none.
      mask: id of ``[MASK]``; None if it has none.
      framed: whether the tokenizer itself ends a text with a special token, as BERT's does.
      opening: ids that come before a text: ``[CLS]``, ``<s>``, or none.
      closing: ids that come after it.
      between: ids between the two texts of a pair; None: the second goes on where the first ends.
      chat: how the checkpoint writes a conversation; None: it has no template.
    """

    raw: Any = field(repr=False)
    separator: int | None
    mask: int | None
    framed: bool
    opening: tuple[int, ...] = ()
    closing: tuple[int, ...] = ()
    between: tuple[int, ...] | None = None
    chat: ChatTemplate | None = None

    @property
    def vocab_size(self) -> int:
        """Ids that it can give: one more than the largest."""
        return max(self.raw.get_vocab(with_added_tokens=True).values(), default=-1) + 1

    def encode(
        self, texts: Sequence[str] | Sequence[tuple[str, str]] | np.ndarray, max_length: int, *, ended: bool = True
    ) -> Encoded:
        """Token ids of texts, or of pairs of texts.

        A text that is written like a special token (``"[SEP]"``) is read as the letters it is made of. Before and
        after a text comes what the tokenizer's template says, as in ``transformers``. A template that ends no text gets
        the separator after each, so that a model can learn where texts end.

        Args:
          texts: one string each, or two.
          max_length: tokens of a row; longer texts lose their end, a pair's longer text first.
          ended: False leaves out what comes after a text, for a model that is to go on.

        Raises:
          CheckpointError: ``max_length`` too small to hold any text.

        Example:
          >>> word_tokenizer(["a", "b"]).encode(["a b", "b"], max_length=4).ids.tolist()
          [[2, 3, 1, -1], [3, 1, -1, -1]]
        """
        items = [(str(t[0]), str(t[1])) if _is_pair(t) else (str(t), None) for t in texts]
        least = max(4, self._frame(any(partner is not None for _, partner in items)) + 1)
        if max_length < least:
            raise CheckpointError(f"max_length is {max_length}, which leaves no room for a text; use at least {least}.")
        rows, answers, cut = [], [], []
        for text, partner in self._tokenized(items):
            room = max_length - self._frame(partner is not None)
            fitted_text, kept_partner = _fit(text, partner, room)
            cut.append(len(fitted_text) + len(kept_partner or ()) < len(text) + len(partner or ()))
            ids, answer = self._joined(fitted_text, kept_partner)
            if not ended and self.closing:
                ids = ids[: -len(self.closing)]
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
        try:
            encoded = self.raw.encode_batch(flat, add_special_tokens=False)
        except Exception as error:  # the library raises bare Exception
            raise CheckpointError(
                f"tokenizer.json cannot read the texts ({str(error).splitlines()[0]}); take the checkpoint's own."
            ) from error
        ids = iter(each.ids for each in encoded)
        return [(next(ids), None if second is None else next(ids)) for _, second in items]

    def _frame(self, pair: bool) -> int:
        return len(self.opening) + len(self.closing) + (len(self.between or ()) if pair else 0)

    def _joined(self, text: list[int], partner: list[int] | None) -> tuple[list[int], int]:
        first = [*self.opening, *text, *((self.between or ()) if partner is not None else ())]
        return [*first, *(partner or ()), *self.closing], 0 if partner is None else len(first)


def _is_pair(item: object) -> bool:
    return not isinstance(item, str) and np.size(item) == 2  # pyright: ignore[reportArgumentType]


def _fit(text: list[int], partner: list[int] | None, room: int) -> tuple[list[int], list[int] | None]:
    """Cuts the longer of two texts until both fit."""
    if partner is None:
        return text[: max(room, 0)], None
    over = len(text) + len(partner) - room
    if over <= 0:
        return text, partner
    keep_partner = max(min(len(partner), room // 2), room - len(text))
    return text[: room - keep_partner], partner[:keep_partner]


def read_tokenizer(path: Path, special: Mapping[str, str | bool], vocab_size: int) -> TextTokenizer:
    """A checkpoint's ``tokenizer.json``.

    Args:
      path: of the file.
      special: what ``tokenizer_config.json`` says of ``eos_token``, ``bos_token``, ``add_bos_token`` and
        ``add_eos_token``; the last two, where given, stand above the file's own template, as in ``transformers``.
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
    if "add_bos_token" in special or "add_eos_token" in special:
        around: dict[str, list[int]] = {"bos_token": [], "eos_token": []}
        for role, ids in around.items():
            id_ = raw.token_to_id(str(special.get(role)))
            if special.get(f"add_{role}") and id_ is None:
                raise CheckpointError(
                    f"{path.parent / 'tokenizer_config.json'}: add_{role} is true, but {role} is "
                    f"{special.get(role)!r}, which {path.name} does not have; take both anew."
                )
            if special.get(f"add_{role}") and id_ is not None:
                ids.append(id_)
        frame(raw, around["bos_token"], around["eos_token"])
    return fitted(raw, special, vocab_size, str(path))


def frame(raw: Any, first: Sequence[int], last: Sequence[int]) -> None:
    """Gives a ``tokenizers.Tokenizer`` a template that puts tokens before each text and after it.

    Args:
      raw: is changed.
      first, last: their ids.
    """
    from tokenizers import processors

    names = {number: raw.id_to_token(number) for number in (*first, *last)}
    texts = [[*(names[i] for i in first), f"${name}", *(names[i] for i in last)] for name in "AB"]
    raw.post_processor = processors.TemplateProcessing(
        single=texts[0], pair=texts[0] + texts[1], special_tokens=[(token, i) for i, token in names.items()]
    )


def write_tokenizer(folder: Path, tokenizer: TextTokenizer, arch: Architecture, *, ended: bool) -> None:
    """Writes a tokenizer that gives the same ids in ``transformers``.

    Args:
      folder: gets ``tokenizer.json`` and ``tokenizer_config.json``.
      tokenizer: as it was used.
      arch: of the model.
      ended: whether the end that dpjax puts after each text belongs in the template: for a classifier, which reads it,
        but not for a model that is to go on.
    """
    from tokenizers import Tokenizer

    raw = Tokenizer.from_str(tokenizer.raw.to_str())
    if ended and not tokenizer.framed and tokenizer.closing:
        frame(raw, tokenizer.opening, tokenizer.closing)
    raw.save(str(folder / "tokenizer.json"))
    end = None if tokenizer.separator is None else raw.id_to_token(tokenizer.separator)
    named = {"mask": "[MASK]", "cls": "[CLS]", "sep": "[SEP]", "unk": "[UNK]", "pad": "[PAD]"}
    config: dict[str, Any] = {
        f"{role}_token": token for role, token in named.items() if raw.token_to_id(token) is not None
    }
    if end is not None and "sep_token" not in config:
        config["eos_token"] = end
    first = tokenizer.opening[0] if tokenizer.opening else tokenizer.closing[0] if tokenizer.closing else 0
    config.setdefault("pad_token", end or raw.id_to_token(first))  # any will do: padding is masked
    inputs = ["input_ids", "token_type_ids", "attention_mask"] if arch.num_segments else ["input_ids", "attention_mask"]
    config |= {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": arch.max_length,
        "model_input_names": inputs,
        "padding_side": "right",
    }
    if tokenizer.chat is not None:
        config |= {
            role: text
            for role, text in tokenizer.chat.tokens
            if role not in config and raw.token_to_id(text) is not None
        }
        (folder / "chat_template.jinja").write_text(tokenizer.chat.source, encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1, ensure_ascii=False), encoding="utf-8")


def fitted(raw: Any, special: Mapping[str, str | bool], vocab_size: int, what: str) -> TextTokenizer:
    """A ``tokenizers.Tokenizer`` made ready, and checked against the embedding.

    Raises:
      CheckpointError: no tokens, more than the embedding has rows, or texts that it cannot read.
    """
    raw.no_padding()
    raw.no_truncation()
    raw.encode_special_tokens = True  # a text must not be able to say "[SEP]"
    ends: list[int] = [raw.token_to_id(token) for token in ("[CLS]", "[SEP]") if raw.token_to_id(token) is not None]
    bert = len(ends) == 2
    end = "[SEP]" if bert else str(special.get("eos_token", "<|endoftext|>"))
    separator = raw.token_to_id(end)
    if separator is None and not bert and "eos_token" in special:
        raise CheckpointError(
            f"{what} has no token {end!r}, which tokenizer_config.json calls its end; take both anew."
        )
    opening, closing, between = _template(raw, what)
    if bert and not (opening or closing):
        opening, closing, between = (ends[0],), (ends[1],), (ends[1],)
    framed = bool(closing)
    split: tuple[int, ...] | None = between
    if not framed:  # a pair is then one text that goes on
        closing, split = (() if separator is None else (separator,)), None
    elif separator is None:
        separator = closing[-1]
    tokenizer = TextTokenizer(raw, separator, raw.token_to_id("[MASK]"), framed, opening, closing, split)
    if not tokenizer.vocab_size:
        raise CheckpointError(f"{what} has no tokens; take the whole checkpoint.")
    if tokenizer.vocab_size > vocab_size:
        raise CheckpointError(
            f"{what} gives ids up to {tokenizer.vocab_size - 1}, but the embedding has {vocab_size} rows; the "
            "tokenizer belongs to another model."
        )
    return tokenizer


_PROBE = "a text, 42 \U0001f5ff"
"""Has words that a small vocabulary lacks, so that a tokenizer without a token for them shows it at once."""


def _template(raw: Any, what: str) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Ids that the tokenizer's own template puts before and after a text, and between two."""
    try:
        single, pair = raw.encode(_PROBE), raw.encode(_PROBE, _PROBE)
    except Exception as error:  # the library raises bare Exception
        reason = str(error).splitlines()[0]
        raise CheckpointError(
            f"{what} cannot read a text ({reason}); it needs a token for unknown words, so take the checkpoint's own."
        ) from error
    before, _, after = _parts(single)
    return before, after, _parts(pair)[1]


def _parts(encoding: Any) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Ids of no text: before the first that is of one, between two texts, after the last."""
    owners = encoding.sequence_ids
    places = [i for i, owner in enumerate(owners) if owner is not None]
    first, last = (places[0], places[-1]) if places else (len(owners), len(owners) - 1)
    middle = [i for i in range(first, last + 1) if owners[i] is None]
    before, after = range(first), range(last + 1, len(owners))
    return tuple(tuple(encoding.ids[i] for i in part) for part in (before, middle, after))  # pyright: ignore[reportReturnType]


def word_tokenizer(words: Sequence[str]) -> TextTokenizer:
    """A tokenizer of whole words, for examples and tests; 0 is unknown, 1 ends a text.

    Formal guarantees: a text's ids follow from that text and the words alone.

    Args:
      words: one token each, numbered from 2.

    Returns:
      The tokenizer.

    Example:
      >>> word_tokenizer(["fine"]).encode(["fine day"], 4).ids.tolist()
      [[2, 0, 1, -1]]
    """
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = {word: i for i, word in enumerate(["<unk>", "<end>", *words])}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))  # nosec B106 # no password
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.add_special_tokens(["<end>"])
    return fitted(raw, {"eos_token": "<end>"}, len(vocabulary), "word_tokenizer")  # nosec B105 # no password
