"""Conversations as token ids by a checkpoint's own chat template, and which of them its assistant writes."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32

from dpjax.models.pretrained.chat_templates import ChatTemplate, Message, Rendering, render
from dpjax.models.pretrained.tensor_files import CheckpointError
from dpjax.models.pretrained.tokens import Encoded, TextTokenizer
from dpjax.models.transformers.transformer import PADDING

_LETTERS = "\ufdd0"
"""Parts what is written like a special token, so that it is read as the letters it is made of; no text may hold it."""

_LOOKS_SPECIAL = re.compile(r"<\|[^|<>\s]{1,40}\|>|<(?:start|end)_of_turn>")


class Pairs(NamedTuple):
    """Pairs of answers as rows of one length.

    Attributes:
      ids: ``[rows, 2, length]``, the chosen answer's first, each after its prompt; ``PADDING`` beyond the end.
      answer: ``[rows, 2]`` the first token of each answer.
      cut: ``[rows]``; True where one of the two was longer and lost its end.
    """

    ids: Int32[np.ndarray, "rows pair length"]
    answer: Int32[np.ndarray, "rows pair"]
    cut: np.ndarray


def encode_conversations(
    conversations: Sequence[Sequence[Message]],
    tokenizer: TextTokenizer,
    max_length: int,
    *,
    what: str = "conversations",
) -> Encoded:
    """Token ids of conversations, as ``transformers``' ``apply_chat_template`` gives them.

    Which tokens the assistant writes is what the template's blocks of generation say. Where it has none the
    conversation is rendered up to each of the assistant's turns and to its end, and the tokens between count.

    Formal guarantees: a row of the result depends on that conversation, the tokenizer and ``max_length`` alone. Content
    that is written like a special token is read as letters.

    Args:
      conversations: turns of each, with ``role`` and ``content``.
      tokenizer: of the checkpoint; with a chat template.
      max_length: tokens of a row; longer ones lose their end.
      what: names the conversations in messages.

    Returns:
      The rows; ``answer`` is ``[rows, length]``, 1 where a token counts.

    Raises:
      CheckpointError: no template, one that fails, does not fit the tokenizer or rewrites earlier turns.

    Example:
      >>> from dataclasses import replace
      >>> from dpjax.models.pretrained import word_tokenizer
      >>> chat = ChatTemplate("{% for m in messages %}{{ m.role }} {{ m.content }} {% endfor %}"
      ...                     "{% if add_generation_prompt %}assistant {% endif %}")
      >>> words = replace(word_tokenizer(["user", "assistant", "hi", "you"]), chat=chat)
      >>> turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hi you"}]
      >>> rows = encode_conversations([turns], words, 6)
      >>> rows.ids.tolist(), rows.answer.tolist()
      ([[2, 4, 3, 4, 5, -1]], [[0, 0, 0, 1, 1, 0]])
    """
    template = _template_of(tokenizer, what)
    reader = _Reader(tokenizer)
    rows = []
    for number, rendering in enumerate(render(template, [reader.marked(turns) for turns in conversations]), 1):
        where = f"{what}: conversation {number}"
        reader.check(template, rendering.text)
        rows.append(reader.marks(template, rendering, where))
    ids = np.full((len(rows), max_length), PADDING, np.int32)
    marks = np.zeros((len(rows), max_length), np.int32)
    for place, (row, counts) in enumerate(rows):
        kept = min(len(row), max_length)
        ids[place, :kept], marks[place, :kept] = row[:kept], counts[:kept]
    return Encoded(ids, marks, np.array([len(row) > max_length for row, _ in rows], bool))


def encode_preferences(
    rows: Sequence[tuple[Sequence[Message], Sequence[Message], Sequence[Message]]],
    tokenizer: TextTokenizer,
    max_length: int,
    *,
    what: str = "conversations",
) -> Pairs:
    """Token ids of a prompt with each of two answers, by the checkpoint's chat template.

    Formal guarantees: as of ``encode_conversations``.

    Args:
      rows: prompt, chosen and rejected turns.
      tokenizer: of the checkpoint; with a chat template.
      max_length: tokens of a prompt with its answer; longer ones lose their end.
      what: names the rows in messages.

    Returns:
      Both conversations of each row, and where the answers begin.

    Raises:
      CheckpointError: see ``encode_conversations``; an answer that is no turn of the assistant.

    Example:
      >>> from dataclasses import replace
      >>> from dpjax.models.pretrained import word_tokenizer
      >>> chat = ChatTemplate("{% for m in messages %}{{ m.content }} {% endfor %}")
      >>> words = replace(word_tokenizer(["hi", "yes", "no"]), chat=chat)
      >>> said = [[{"role": role, "content": text}] for role, text in
      ...         (("user", "hi"), ("assistant", "yes"), ("assistant", "no"))]
      >>> encode_preferences([tuple(said)], words, 3).ids.tolist()
      [[[2, 3, -1], [2, 4, -1]]]
    """
    template = _template_of(tokenizer, what)
    reader = _Reader(tokenizer)
    asked = [reader.marked([*prompt, *answer]) for prompt, *answers in rows for answer in answers]
    found = []
    for number, rendering in enumerate(render(template, asked)):
        where = f"{what}: row {number // 2 + 1}"
        reader.check(template, rendering.text)
        prompt, _, _ = rows[number // 2]
        place = sum(turn["role"] == "assistant" for turn in prompt)
        if place >= len(rendering.before) and rendering.answers is None:
            raise CheckpointError(f"{where}: the answer is no turn of the assistant; give it the role assistant.")
        ids, counts = reader.marks(template, rendering, where)
        starts = np.flatnonzero(np.diff(np.concatenate([[0], counts])) == 1)
        found.append((ids, int(starts[place]) if place < len(starts) else len(ids)))
    return paired(found, max_length)


def encode_answers(rows: Sequence[tuple[str, str, str]], tokenizer: TextTokenizer, max_length: int) -> Pairs:
    """Token ids of a prompt with each of two answers, as texts that follow each other.

    Formal guarantees: a row of the result depends on that row, the tokenizer and ``max_length`` alone. Both answers
    come after the same tokens.

    Args:
      rows: prompt, chosen and rejected answer.
      tokenizer: of the checkpoint.
      max_length: tokens of a prompt with its answer; longer ones lose their end.

    Returns:
      Both texts of each row, and where the answers begin.

    Example:
      >>> from dpjax.models.pretrained import word_tokenizer
      >>> encode_answers([("a", "b", "b a")], word_tokenizer(["a", "b"]), 5).ids.tolist()
      [[[2, 3, 1, -1, -1], [2, 3, 2, 1, -1]]]
    """
    found = []
    for prompt, *answers in rows:
        for answer in answers:
            room = len(prompt.encode()) + len(answer.encode()) + 16  # a token holds a byte at least
            whole = tokenizer.encode([(prompt, answer)], room)
            found.append((whole.ids[0][whole.ids[0] >= 0].tolist(), int(whole.answer[0])))
    return paired(found, max_length)


def paired(found: Sequence[tuple[Sequence[int], int]], max_length: int) -> Pairs:
    """Rows of two from single ones that follow each other.

    Args:
      found: ids with the first that counts; the chosen answer's and the rejected one's in turn.
      max_length: tokens of a row.

    Example:
      >>> paired([([5, 6, 7], 1), ([5, 8], 1)], 3).ids.tolist()
      [[[5, 6, 7], [5, 8, -1]]]
    """
    ids = np.full((len(found), max_length), PADDING, np.int32)
    for row, (given, _) in zip(ids, found, strict=True):
        row[: min(len(given), max_length)] = given[:max_length]
    starts = np.array([min(start, max_length) for _, start in found], np.int32)
    cut = np.array([len(given) > max_length for given, _ in found], bool)
    return Pairs(ids.reshape(-1, 2, max_length), starts.reshape(-1, 2), cut.reshape(-1, 2).any(1))


def _template_of(tokenizer: TextTokenizer, what: str) -> ChatTemplate:
    if tokenizer.chat is None:
        raise CheckpointError(
            f"{what} are conversations, and the checkpoint has no chat template; take one that was tuned for "
            "conversations, or give texts with data.text."
        )
    return tokenizer.chat


class _Reader:
    """A tokenizer that knows the special tokens that a template writes."""

    def __init__(self, tokenizer: TextTokenizer):
        from tokenizers import Tokenizer

        self.raw = Tokenizer.from_str(tokenizer.raw.to_str())
        self.raw.encode_special_tokens = False
        added = self.raw.get_added_tokens_decoder()
        self.special = {token.content: number for number, token in added.items() if token.special}
        written = sorted(map(re.escape, self.special), key=len, reverse=True)
        self.pattern = re.compile("|".join(written)) if written else None

    def marked(self, turns: Sequence[Message]) -> list[dict[str, str]]:
        """Turns in whose content nothing can pose as a special token."""
        return [{"role": turn["role"], "content": self._harmless(turn["content"])} for turn in turns]

    def _harmless(self, content: str) -> str:
        content = content.replace(_LETTERS, "")
        if self.pattern is None:
            return content
        return self.pattern.sub(lambda found: found[0][0] + _LETTERS + found[0][1:], content)

    def check(self, template: ChatTemplate, text: str) -> None:
        """Refuses what is written as one token and is none."""
        named = [token for role, token in template.tokens if role in template.source and token in text]
        for token in dict.fromkeys([*_LOOKS_SPECIAL.findall(text), *named]):
            if (token in template.source or token in named) and self.raw.token_to_id(token) is None:
                raise CheckpointError(
                    f"{template.where} writes {token!r}, which its tokenizer has no token for; the two belong to "
                    "different models, so take both anew."
                )

    def ids(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Ids, and of each the characters that it stands for."""
        ids: list[int] = []
        places: list[tuple[int, int]] = []
        start = 0
        for part in text.split(_LETTERS):
            encoded = self.raw.encode(part, add_special_tokens=False)
            ids += encoded.ids
            places += [(start + begin, start + end) for begin, end in encoded.offsets]
            start += len(part) + 1
        return ids, places

    def marks(self, template: ChatTemplate, rendering: Rendering, where: str) -> tuple[list[int], np.ndarray]:
        """Ids of a conversation, and 1 for each that the assistant writes."""
        ids, places = self.ids(rendering.text)
        counts = np.zeros(len(ids), np.int32)
        if rendering.answers is not None:
            for begin, end in rendering.answers:
                inside = [i for i, (first, last) in enumerate(places) if first < end and last > begin]
                if inside:
                    counts[inside[0] : inside[-1] + 1] = 1
            return ids, counts
        for before, after in zip(rendering.before, rendering.after, strict=True):
            if not rendering.text.startswith(before):
                raise CheckpointError(_rewritten(template, where))
            first, last = (_shared(ids, self.ids(text)[0]) for text in (before, after))
            rest = [] if rendering.text.startswith(after) else self.ids(after)[0][last:]
            if not set(rest) <= set(self.special.values()):
                raise CheckpointError(_rewritten(template, where))
            counts[first:last] = 1
        return ids, counts


def _rewritten(template: ChatTemplate, where: str) -> str:
    return (
        f"{where}: {template.where} writes a turn otherwise once another follows, so that which tokens are the "
        "assistant's is not known; cut conversations after its first such turn, or add blocks of generation to it."
    )


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    """Ids that two rows begin with alike."""
    for place, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return place
    return min(len(one), len(other))
