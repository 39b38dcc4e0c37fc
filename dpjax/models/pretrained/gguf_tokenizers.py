"""The tokenizer of a GGUF, built anew: byte-level BPE by its merges, or SentencePiece's by its scores."""

from dataclasses import replace
from typing import Any

from dpjax.models.pretrained.chat_templates import ChatTemplate
from dpjax.models.pretrained.gguf_families import Fields
from dpjax.models.pretrained.tensor_files import CheckpointError
from dpjax.models.pretrained.tokens import TextTokenizer, fitted, frame
from dpjax.models.transformers.architecture import Architecture
from dpjax.models.transformers.config_fields import shown

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
"""How later models part words, with numbers of so many digits."""

_PARTED = {
    "default": "",
    "gpt-2": "",
    "olmo": "",
    "smollm": "digits",
    "llama-bpe": _WORDS % r"\p{N}{1,3}",
    "dbrx": _WORDS % r"\p{N}{1,3}",
    "smaug-bpe": _WORDS % r"\p{N}{1,3}",
    "qwen2": _WORDS % r"\p{N}",
}
"""``tokenizer.ggml.pre`` → how texts are parted before merging; "": as GPT-2 does it."""

_CONTROL, _BYTE = 3, 6
"""Kinds of tokens: those that no text may contain, and those of one byte."""


def read_gguf_tokenizer(fields: Fields, arch: Architecture) -> TextTokenizer:
    """The tokenizer of a file.

    Args:
      fields: of the file.
      arch: of its model, which it must fit.

    Raises:
      CheckpointError: of a kind that is not built, or damaged.
    """
    kind, before = fields.get("tokenizer.ggml.model"), fields.get("tokenizer.ggml.pre", "default")
    tokens = fields["tokenizer.ggml.tokens"]
    if kind == "gpt2" and before in _PARTED:
        raw = _byte_level(fields, tokens, _PARTED[before], nfc=before == "qwen2")
    elif kind == "llama":
        raw = _by_scores(fields, tokens)
    else:
        raise CheckpointError(
            f"{fields.path}: its tokenizer is {kind!r} with {before!r} before it, but dpjax rebuilds SentencePiece's "
            f"BPE (llama) and byte-level BPE with {', '.join(_PARTED)}; use the checkpoint's safetensors and "
            "tokenizer.json."
        )
    kinds = fields["tokenizer.ggml.token_type"]
    raw.add_special_tokens([token for token, kind in zip(tokens, kinds, strict=True) if kind == _CONTROL])
    first, last = (_special(fields, role, len(tokens)) for role in ("bos", "eos"))
    # SentencePiece's models begin each text, unless they say no.
    opens = fields.get("tokenizer.ggml.add_bos_token", kind == "llama" and first is not None) is True
    ends = fields.get("tokenizer.ggml.add_eos_token") is True
    for role, id_, put in (("bos", first, opens), ("eos", last, ends)):
        if put and id_ is None:
            raise CheckpointError(
                f"{fields.path}: tokenizer.ggml.add_{role}_token is true, but there is no "
                f"tokenizer.ggml.{role}_token_id; take another checkpoint."
            )
    if opens and first is not None:  # the end comes after each text in any case
        frame(raw, [first], [])
    made = fitted(raw, {} if last is None else {"eos_token": tokens[last]}, arch.vocab_size, str(fields.path))
    source = fields.get("tokenizer.chat_template")
    if source is None:
        return made
    if not isinstance(source, str):
        raise CheckpointError(f"{fields.path}: tokenizer.chat_template is {shown(source)}, no text; fetch it again.")
    named = {"bos_token": first, "eos_token": last, "unk_token": _special(fields, "unknown", len(tokens))}
    texts = tuple((role, tokens[id_]) for role, id_ in named.items() if id_ is not None)
    return replace(made, chat=ChatTemplate(source, texts, f"the chat template of {fields.path.name}"))


def _byte_level(fields: Fields, tokens: list[str], parted: str, *, nfc: bool) -> Any:
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    merges = [tuple(merge.split(" ", 1)) for merge in fields["tokenizer.ggml.merges"]]
    raw = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    if parted in ("", "digits"):
        steps: list[Any] = [pre_tokenizers.Digits(individual_digits=True)] if parted else []
        steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False))
    else:
        steps = [pre_tokenizers.Split(Regex(parted), "isolated")]
        steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
    raw.pre_tokenizer = pre_tokenizers.Sequence(steps)
    raw.decoder = decoders.ByteLevel()
    if nfc:
        raw.normalizer = normalizers.NFC()
    return raw


def _by_scores(fields: Fields, tokens: list[str]) -> Any:
    """Two pieces become one in the order of the scores of what they become."""
    from tokenizers import Tokenizer, decoders, models, normalizers

    scores, kinds = fields["tokenizer.ggml.scores"], fields["tokenizer.ggml.token_type"]
    if not len(scores) == len(kinds) == len(tokens):
        raise CheckpointError(
            f"{fields.path}: there are {len(tokens)} tokens, {len(scores)} scores and {len(kinds)} kinds; fetch it "
            "again."
        )
    ids = {token: i for i, token in enumerate(tokens)}
    merges = [
        (scores[i], ids[token[:cut]], ids[token[cut:]], token[:cut], token[cut:])
        for token, i in ids.items()
        if kinds[i] not in (_CONTROL, _BYTE)
        for cut in range(1, len(token))
        if token[:cut] in ids and token[cut:] in ids
    ]
    ordered = [(left, right) for *_, left, right in sorted(merges, key=lambda each: (-each[0], each[1], each[2]))]
    unknown = _special(fields, "unknown", len(tokens))
    raw = Tokenizer(
        models.BPE(
            ids, ordered, unk_token=None if unknown is None else tokens[unknown], fuse_unk=True, byte_fallback=True
        )
    )
    prefixed = fields.get("tokenizer.ggml.add_space_prefix", True) is True
    steps = [normalizers.Prepend("▁")] if prefixed else []
    raw.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", "▁")])
    ends = [decoders.Strip(" ", 1, 0)] if prefixed else []
    raw.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *ends])
    return raw


def _special(fields: Fields, role: str, count: int) -> int | None:
    """The id of the token that begins or ends a text, or stands for unknown ones; None: there is none."""
    id_ = fields.get(f"tokenizer.ggml.{role}_token_id")
    if id_ is not None and not (isinstance(id_, int) and 0 <= id_ < count):
        raise CheckpointError(
            f"{fields.path}: tokenizer.ggml.{role}_token_id is {shown(id_)}, but there are {count} tokens; take "
            "another checkpoint."
        )
    return id_
