"""A small decoder that has read nothing, as a checkpoint; its tokens are bytes, so that no text made its vocabulary."""

import os
from pathlib import Path

import jax

from dpjax.models.pretrained.load_and_save import save
from dpjax.models.pretrained.tokens import TextTokenizer, fitted
from dpjax.models.transformers import tiny
from dpjax.models.tuning import fresh_parameters

END = "<end>"
VOCABULARY = 257
"""256 bytes, and the end of a text."""


def byte_tokenizer() -> TextTokenizer:
    """A tokenizer of single bytes, for any text in any language; 256 ends a text.

    Formal guarantees: it has learnt from nothing, so that no text is released by it.

    Example:
      >>> byte_tokenizer().encode(["né"], 5).ids.tolist()
      [[77, 127, 102, 256, -1]]
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    vocabulary = {each: number for number, each in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    raw = Tokenizer(models.BPE(vocabulary | {END: 256}, []))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    raw.decoder = decoders.ByteLevel()
    raw.add_special_tokens([END])
    return fitted(raw, {"eos_token": END}, VOCABULARY, "byte_tokenizer")  # nosec B105 # no password


def write_small(folder: str | os.PathLike[str], *, layers: int = 2, width: int = 128, seed: int = 0) -> Path:
    """Writes a small Llama of random weights over bytes, for workflows on two cores; real ones want a real checkpoint.

    Args:
      folder: made if it is not there.
      layers: of the decoder.
      width: of its states, a multiple of 32.
      seed: of the weights.

    Returns:
      The folder, which ``model.checkpoint`` may name.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     sorted(path.name for path in write_small(folder, layers=1, width=32).iterdir())
      ['config.json', 'generation_config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json']
    """
    heads = width // 32
    arch = tiny(
        "llama",
        vocab_size=VOCABULARY,
        width=width,
        num_layers=layers,
        num_heads=heads,
        num_kv_heads=heads,
        head_width=32,
        hidden_width=3 * width,
        max_length=512,
    )
    return save(folder, arch, fresh_parameters(arch, jax.random.key(seed)), byte_tokenizer())
