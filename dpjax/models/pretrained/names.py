"""Which tensor of a checkpoint is which parameter: the names of BERT, Llama and GPT-2, and how each is stored."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

from dpjax.models.transformers.architecture import Architecture

Stored = Literal["as_is", "transposed", "third"]


class Tensor(NamedTuple):
    """One parameter's place in a checkpoint.

    Attributes:
      name: of the tensor, without the prefix that models with a task's head put before it.
      stored: ``"as_is"``; ``"transposed"``, as torch's Linear has it; or ``"third"``: query, key and value side by side
        in one tensor (GPT-2).
      part: which third.
      optional: whether a checkpoint may come without it.
      headed: whether the task's head owns it, so that no prefix is put before it.
    """

    name: str
    stored: Stored = "as_is"
    part: int = 0
    optional: bool = False
    headed: bool = False


PREFIX = {"bert": "bert.", "llama": "model.", "gpt2": "transformer."}
"""What a model with a task's head writes before the names of its body."""

IGNORED = {
    "bert": ("embeddings.position_ids", "cls.seq_relationship.", "cls.predictions.decoder.bias", "pooler."),
    "llama": ("rotary_emb.inv_freq",),
    "gpt2": (".attn.bias", ".attn.masked_bias"),
}
"""Parts of names that checkpoints carry and that no parameter corresponds to."""


def tensors(arch: Architecture) -> dict[str, Tensor]:
    """Path of each parameter → its tensor.

    Paths are joined by dots, with each layer by itself: ``"layers.3.attention.query.kernel"``.

    Example:
      >>> from dpjax.models.transformers import tiny
      >>> tensors(tiny("bert"))["layers.1.mlp.up.kernel"].name
      'encoder.layer.1.intermediate.dense.weight'
    """
    return dict({"bert": _bert, "llama": _llama, "gpt2": _gpt2}[arch.family](arch))


def _dense(
    path: str, name: str, bias: bool = True, *, optional: bool = False, headed: bool = False
) -> Iterator[tuple[str, Tensor]]:
    yield f"{path}.kernel", Tensor(f"{name}.weight", "transposed", optional=optional, headed=headed)
    if bias:
        yield f"{path}.bias", Tensor(f"{name}.bias", optional=optional, headed=headed)


def _norm(
    path: str, name: str, bias: bool = True, *, optional: bool = False, headed: bool = False
) -> Iterator[tuple[str, Tensor]]:
    yield f"{path}.scale", Tensor(f"{name}.weight", optional=optional, headed=headed)
    if bias:
        yield f"{path}.bias", Tensor(f"{name}.bias", optional=optional, headed=headed)


def _bert(arch: Architecture) -> Iterator[tuple[str, Tensor]]:
    yield "token", Tensor("embeddings.word_embeddings.weight")
    yield "position", Tensor("embeddings.position_embeddings.weight")
    yield "segment", Tensor("embeddings.token_type_embeddings.weight")
    yield from _norm("embedding_norm", "embeddings.LayerNorm")
    for i in range(arch.num_layers):
        path, name = f"layers.{i}", f"encoder.layer.{i}"
        for part in ("query", "key", "value"):
            yield from _dense(f"{path}.attention.{part}", f"{name}.attention.self.{part}")
        yield from _dense(f"{path}.attention.output", f"{name}.attention.output.dense")
        yield from _norm(f"{path}.attention_norm", f"{name}.attention.output.LayerNorm")
        yield from _dense(f"{path}.mlp.up", f"{name}.intermediate.dense")
        yield from _dense(f"{path}.mlp.down", f"{name}.output.dense")
        yield from _norm(f"{path}.mlp_norm", f"{name}.output.LayerNorm")
    yield from _dense("pooler", "pooler.dense", optional=True)
    head = {"optional": True, "headed": True}
    yield from _dense("masked_head.dense", "cls.predictions.transform.dense", **head)
    yield from _norm("masked_head.norm", "cls.predictions.transform.LayerNorm", **head)
    yield "masked_head.bias", Tensor("cls.predictions.bias", optional=True, headed=True)
    yield "vocabulary", Tensor("cls.predictions.decoder.weight", optional=True, headed=True)
    yield from _dense("classifier", "classifier", **head)


def _llama(arch: Architecture) -> Iterator[tuple[str, Tensor]]:
    yield "token", Tensor("embed_tokens.weight")
    for i in range(arch.num_layers):
        path, name = f"layers.{i}", f"layers.{i}"
        for part in ("query", "key", "value", "output"):
            yield from _dense(f"{path}.attention.{part}", f"{name}.self_attn.{part[0]}_proj", arch.bias)
        for part in ("gate", "up", "down"):
            yield from _dense(f"{path}.mlp.{part}", f"{name}.mlp.{part}_proj", arch.mlp_bias)
        yield from _norm(f"{path}.attention_norm", f"{name}.input_layernorm", False)
        yield from _norm(f"{path}.mlp_norm", f"{name}.post_attention_layernorm", False)
    yield from _norm("final_norm", "norm", False)
    yield "vocabulary", Tensor("lm_head.weight", optional=arch.tied, headed=True)
    yield from _dense("classifier", "score", optional=True, headed=True)


def _gpt2(arch: Architecture) -> Iterator[tuple[str, Tensor]]:
    yield "token", Tensor("wte.weight")
    yield "position", Tensor("wpe.weight")
    for i in range(arch.num_layers):
        path, name = f"layers.{i}", f"h.{i}"
        for part, which in enumerate(("query", "key", "value")):
            yield f"{path}.attention.{which}.kernel", Tensor(f"{name}.attn.c_attn.weight", "third", part)
            yield f"{path}.attention.{which}.bias", Tensor(f"{name}.attn.c_attn.bias", "third", part)
        for part_name, its in (("attention.output", "attn.c_proj"), ("mlp.up", "mlp.c_fc"), ("mlp.down", "mlp.c_proj")):
            yield f"{path}.{part_name}.kernel", Tensor(f"{name}.{its}.weight")  # stored as dpjax has it, not as Linear
            yield f"{path}.{part_name}.bias", Tensor(f"{name}.{its}.bias")
        yield from _norm(f"{path}.attention_norm", f"{name}.ln_1")
        yield from _norm(f"{path}.mlp_norm", f"{name}.ln_2")
    yield from _norm("final_norm", "ln_f")
    yield "vocabulary", Tensor("lm_head.weight", optional=arch.tied, headed=True)
    yield from _dense("classifier", "score", optional=True, headed=True)


def modules(arch: Architecture) -> dict[str, tuple[str, ...]]:
    """Name of each matrix that an adapter may sit on → paths of the dense layers in it: three where they are joined.

    Example:
      >>> from dpjax.models.transformers import tiny
      >>> modules(tiny("gpt2"))["h.1.attn.c_attn"]
      ('layers.1.attention.query', 'layers.1.attention.key', 'layers.1.attention.value')
    """
    grouped: dict[str, tuple[str, ...]] = {}
    for path, tensor in tensors(arch).items():
        if path.endswith(".kernel") and path != "classifier.kernel":
            name = tensor.name.removesuffix(".weight")
            grouped[name] = (*grouped.get(name, ()), path.removesuffix(".kernel"))
    return grouped
