"""The whole transformer for ONE text: embeddings, blocks, and the head of its task."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from dpjax.models.transformers.architecture import Architecture
from dpjax.models.transformers.layers import _START as START
from dpjax.models.transformers.layers import (
    ACTIVATIONS,
    Added,
    Block,
    Dense,
    Memory,
    Norm,
    Sight,
    capped,
    settled,
    wide,
)
from dpjax.models.transformers.rotary import rotation_of
from dpjax.models.transformers.vocabulary import TokenScores, of_logits, token_scores

PADDING = -1
"""The id of an empty place. No tokenizer has it, so that padding never depends on one having a padding token."""

Pooling = Literal["mean", "first", "last", "pooler"]


@dataclass(frozen=True)
class Head:
    """What comes out at the end.

    Attributes:
      task: ``"classify"`` (logits ``[num_classes]``), ``"causal"`` or ``"masked"`` (logits ``[tokens, vocab]``), or
        ``"embed"`` (the pooled vector ``[width]``).
      num_classes: of ``"classify"``.
      pooling: how a text becomes one vector: the mean over its tokens, its first or its last token, or BERT's pooler.
      normalized: scale the pooled vector to the root mean square 1, so that no text has a larger gradient in the head.
    """

    task: Literal["classify", "causal", "masked", "embed"] = "embed"
    num_classes: int = 0
    pooling: Pooling = "mean"
    normalized: bool = True


class Plan(NamedTuple):
    """How a transformer is laid out; none of it changes what is computed.

    Attributes:
      stacks: layers in each scanned stack, in order; 1 is a layer by itself. (): each by itself.
      dtype: of activations; parameters keep their own.
      separator: id of the token that ends a text inside the row: BERT's segments follow it, and a causal model's
        attention stops there. None: a row is one text.
      recompute: what happens within a layer is computed again in its backward pass instead of kept: a fraction of the
        memory for about a third more work.
    """

    stacks: tuple[int, ...] = ()
    dtype: DTypeLike = jnp.float32
    separator: int | None = None
    recompute: bool = False

    def sizes(self, num_layers: int) -> tuple[int, ...]:
        """Layers in each stack."""
        sizes = self.stacks or (1,) * num_layers
        if sum(sizes) != num_layers or min(sizes) < 1:
            raise ValueError(f"stacks is {sizes}, but they must be ≥ 1 and sum to num_layers={num_layers}.")
        return sizes


class MaskedHead(nnx.Module):
    """An encoder's head over the vocabulary, on the token embedding."""

    def __init__(self, arch: Architecture, rngs: nnx.Rngs):
        self.dense = Dense("transform", arch.width, arch.width, arch.head_bias, Added(), rngs)
        self.norm = Norm(arch)
        self.bias = nnx.Param(jnp.zeros(arch.vocab_size)) if arch.vocabulary_bias else None
        self.activation = arch.head_activation

    def __call__(self, x: Float[Array, "tokens width"]) -> Float[Array, "tokens width"]:
        return self.norm(ACTIVATIONS[self.activation](settled(self.dense(x))))


class Transformer(nnx.Module):
    """A text model; see ``dpjax.models.transformers.build`` for the pair of functions made of it."""

    def __init__(self, arch: Architecture, head: Head, added: Added, plan: Plan, *, rngs: nnx.Rngs):
        self.arch, self.head, self.plan = arch, head, plan
        self.token = nnx.Param(START(rngs.params(), (arch.vocab_size, arch.width)))
        rows = arch.max_length + arch.position_offset
        self.position = nnx.Param(START(rngs.params(), (rows, arch.width))) if arch.learned else None
        segments = arch.num_segments
        self.segment = nnx.Param(START(rngs.params(), (segments, arch.width))) if segments else None
        self.embedding_norm = Norm(arch) if arch.embedding_norm else None
        length = added.prompt_length
        self.prompt = nnx.Param(START(rngs.params(), (length, arch.width))) if length else None
        sizes = plan.sizes(arch.num_layers)
        self.layers = nnx.List([_stack(arch, added, size, rngs, not number) for number, size in enumerate(sizes)])
        self.final_norm = Norm(arch) if arch.final_norm else None
        width, plain = arch.width, Added()
        pools, writes = head.task in ("classify", "embed"), head.task in ("causal", "masked")
        pooled = pools and head.pooling == "pooler"
        self.pooler = Dense("pooler", width, width, True, plain, rngs) if pooled else None
        classes = head.num_classes
        self.classifier = Dense("classifier", width, classes, True, plain, rngs) if head.task == "classify" else None
        self.masked_head = MaskedHead(arch, rngs) if head.task == "masked" else None
        untied = writes and not arch.tied
        self.vocabulary = nnx.Param(START(rngs.params(), (arch.vocab_size, width))) if untied else None

    def __call__(self, ids: Int[Array, "length"]) -> Array:
        """What the head says of ONE text; ids beyond its end are ``PADDING``."""
        hidden, _ = self.read(ids)
        if self.head.task in ("causal", "masked"):
            return self.logits(hidden)
        pooled = self.pool(hidden, ids >= 0)
        return pooled if self.classifier is None else self.classifier(pooled)

    def read(
        self,
        ids: Int[Array, "length"],
        memory: Sequence[Memory] | None = None,
        start: int | Int[Array, ""] = 0,
        empty: int | Int[Array, ""] = 0,
    ) -> tuple[Float[Array, "length width"], list[Any]]:
        """The last layer's vectors, and the memory with these tokens in it.

        Args:
          ids: ``[length]``; ``PADDING`` beyond the end.
          memory: of what was read before; None: nothing, and nothing is kept.
          start: place of the first token in the memory. Only at 0 is a trained prompt put in front.
          empty: places before the text's own first token, which nobody sees.
        """
        opening = self.prompt is not None and isinstance(start, int) and start == 0
        x, positions, valid = self._embed(ids, start, empty, opening)
        x = settled(x)
        sight = self._sight(self._mask(ids, valid, memory, start, empty), positions, valid, start, empty)
        memories, first = [], 0
        for number, (layers, size) in enumerate(zip(self.layers, self.plan.sizes(self.arch.num_layers), strict=True)):
            layer_memory = None if memory is None else memory[number]
            kinds = [self.arch.kinds.index(self.arch.view(first + i)) for i in range(size)]
            x, layer_memory = _run(layers, kinds, x, sight, layer_memory, self.plan.recompute)
            memories.append(layer_memory)
            first += size
        if self.final_norm is not None:
            x = self.final_norm(x)
        return (x[x.shape[0] - ids.shape[0] :] if opening else x), memories

    def logits(self, hidden: Float[Array, "length width"]) -> Float[Array, "length vocab"]:
        """Scores of the vocabulary, float32."""
        table = self.token if self.vocabulary is None else self.vocabulary
        if self.masked_head is not None:
            hidden = self.masked_head(hidden)
        rows = table.get_value().astype(hidden.dtype)
        # For one token XLA's product with a turned matrix is several times slower than that of rows with a vector.
        out = (rows @ hidden[0])[None] if hidden.shape[0] == 1 else hidden @ rows.T
        out = out.astype(jnp.float32)
        if self.arch.logit_cap is not None:
            out = capped(out, self.arch.logit_cap)
        bias = None if self.masked_head is None else self.masked_head.bias
        return out if bias is None else out + wide(bias.get_value(), out)

    def next_tokens(self, ids: Int[Array, "length"], chunked: bool) -> TokenScores:
        """How well each token of ONE text says the next: of all places but the last; padding is scored as id 0.

        Args:
          ids: ``[length]``.
          chunked: the vocabulary is scored part by part, and is a constant.
        """
        hidden, targets = self.read(ids)[0][:-1], jnp.maximum(ids[1:], 0)
        if not chunked:
            return of_logits(self.logits(hidden), targets)
        table = self.token if self.vocabulary is None else self.vocabulary
        return token_scores(hidden, table.get_value(), targets, cap=self.arch.logit_cap)

    def pool(self, hidden: Float[Array, "length width"], valid: Bool[Array, "length"]) -> Float[Array, "width"]:
        """One float32 vector for the text."""
        x = hidden.astype(jnp.float32)
        match self.head.pooling:
            case "mean":
                pooled = jnp.sum(jnp.where(valid[:, None], x, 0), 0) / jnp.maximum(jnp.sum(valid, dtype=jnp.float32), 1)
            case "last":
                # A product, not a lookup: it stays one matmul under vmap.
                last = jnp.arange(len(valid)) == jnp.max(jnp.where(valid, jnp.arange(len(valid)), 0))
                pooled = last.astype(jnp.float32) @ x
            case _:
                pooled = x[0]
        if self.pooler is not None:
            pooled = self.pooler(pooled)
            return jnp.tanh(pooled) if self.arch.pooler_activation == "tanh" else jax.nn.relu(pooled)
        if not self.head.normalized:
            return pooled
        return pooled * jax.lax.rsqrt(jnp.mean(jnp.square(pooled)) + 1e-12)

    def _embed(
        self, ids: Int[Array, "length"], start: int | Int[Array, ""], empty: int | Int[Array, ""], opening: bool
    ) -> tuple[Float[Array, "tokens width"], Int[Array, "tokens"], Bool[Array, "tokens"]]:
        dtype = self.plan.dtype
        x = self.token.get_value()[jnp.maximum(ids, 0)].astype(dtype)
        if self.arch.embedding_scale != 1:
            x = x * jnp.asarray(self.arch.embedding_scale, dtype)
        valid = ids >= 0
        ahead = 0
        if opening and self.prompt is not None:
            prompt = self.prompt.get_value().astype(dtype)
            ahead = prompt.shape[0]
            x, valid = jnp.concatenate([prompt, x]), jnp.concatenate([jnp.ones(ahead, bool), valid])
        length = x.shape[0]
        positions = start - empty + jnp.arange(length, dtype=jnp.int32)
        if self.position is not None:
            if isinstance(start, int) and start == 0:
                if length > self.arch.max_length:
                    raise ValueError(
                        f"max_length is {ids.shape[0]}{f' after a prompt of {ahead}' if ahead else ''}, but the model "
                        f"knows positions up to {self.arch.max_length}; cut the texts."
                    )
                begin = self.arch.position_offset
                x = x + self.position.get_value()[begin : begin + length].astype(dtype)
            else:
                x = x + self.position.get_value()[self.arch.position_offset + positions].astype(dtype)
        if self.segment is not None:
            which = _texts_before(ids, self.plan.separator)
            which = jnp.concatenate([jnp.zeros(ahead, which.dtype), which])
            table = self.segment.get_value().astype(dtype)
            x = x + (table[jnp.minimum(which, table.shape[0] - 1)] if self.plan.separator is not None else table[:1])
        return (x if self.embedding_norm is None else self.embedding_norm(x)), positions, valid

    def _mask(
        self,
        ids: Int[Array, "length"],
        valid: Bool[Array, "tokens"],
        memory: Sequence[Memory] | None,
        start: int | Int[Array, ""],
        empty: int | Int[Array, ""],
    ) -> Bool[Array, "tokens seen"]:
        tokens = valid.shape[0]
        if memory is not None:
            capacity = memory[0].keys.shape[-3]
            places = jnp.arange(capacity)[None, :]
            return (places <= (start + jnp.arange(tokens))[:, None]) & (places >= empty)
        mask = jnp.broadcast_to(valid[None, :], (tokens, tokens))
        if not self.arch.causal:
            return mask
        mask = mask & (jnp.arange(tokens)[None, :] <= jnp.arange(tokens)[:, None])
        if self.plan.separator is None:
            return mask
        text_numbers = _texts_before(ids, self.plan.separator)
        shared = jnp.full(tokens - ids.shape[0], -1, text_numbers.dtype)  # every text sees a prompt
        text_numbers = jnp.concatenate([shared, text_numbers])
        return mask & ((text_numbers[None, :] == text_numbers[:, None]) | (text_numbers[None, :] < 0))

    def _sight(
        self,
        mask: Bool[Array, "tokens seen"],
        positions: Int[Array, "tokens"],
        valid: Bool[Array, "tokens"],
        start: int | Int[Array, ""],
        empty: int | Int[Array, ""],
    ) -> Sight:
        """Masks and rotations of every kind of layers."""
        distance = jnp.abs(positions[:, None] + empty - jnp.arange(mask.shape[1], dtype=jnp.int32)[None, :])
        kinds = self.arch.kinds
        masks = [mask if kind.window is None else mask & (distance < kind.window) for kind in kinds]
        ropes = [kind.rope for kind in kinds]
        if not any(ropes):
            return Sight(jnp.stack(masks), None, start)
        length = start - empty + jnp.sum(valid, dtype=jnp.int32)
        width = self.arch.head_width
        turned = [None if rope is None else rotation_of(positions, rope, width, length) for rope in ropes]
        some = next(each for each in turned if each is not None)
        still = jnp.ones_like(some[0]), jnp.zeros_like(some[1])
        cosines, sines = zip(*(each or still for each in turned), strict=True)
        return Sight(jnp.stack(masks), (jnp.stack(cosines), jnp.stack(sines)), start)


def _texts_before(ids: Int[Array, "length"], separator: int | None) -> Int[Array, "length"]:
    """How many separators come before each token."""
    if separator is None:
        return jnp.zeros(ids.shape, jnp.int32)
    ends = (ids == separator).astype(jnp.int32)
    return jnp.cumsum(ends) - ends


def _stack(arch: Architecture, added: Added, size: int, rngs: nnx.Rngs, first: bool) -> Block:
    """One block, or several whose parameters have a leading axis of layers."""
    if size == 1:
        return Block(arch, added, rngs, first)
    if first and not arch.first_norm:
        raise ValueError(
            f"stacks begins with {size}, but the first layer of a {arch.family} has no norm; begin with 1."
        )

    @nnx.split_rngs(splits=size)
    @nnx.vmap(in_axes=(0,), out_axes=0)
    def many(rngs: nnx.Rngs) -> Block:
        return Block(arch, added, rngs)

    return many(rngs)


def _run(
    layers: Block, kinds: Sequence[int], x: Array, sight: Sight, memory: Memory | None, recompute: bool
) -> tuple[Array, Memory | None]:
    alone, recompute = len(kinds) == 1, recompute and memory is None
    if alone and not recompute:
        return layers(x, sight.of(kinds[0]), memory)
    graph, state = nnx.split(layers)
    alike = len(set(kinds)) == 1

    def one(x: Array, block: tuple[Any, Array, Memory | None]) -> tuple[Array, Memory | None]:
        return nnx.merge(graph, block[0])(x, sight.of(kinds[0] if alike else block[1]), block[2])

    if recompute:  # a loop keeps its passes apart by itself
        one = jax.checkpoint(one, prevent_cse=alone)
    numbers = jnp.asarray(kinds, jnp.int32)
    return one(x, (state, numbers[0], None)) if alone else jax.lax.scan(one, x, (state, numbers, memory))
