"""The parts of a transformer: dense layers that an adapter may sit on, norms, attention, the MLP."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from dpjax.models.transformers.architecture import Architecture

_ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_tanh": jax.nn.gelu,
    "silu": jax.nn.silu,
    "relu": jax.nn.relu,
}
_START = nnx.initializers.normal(0.02)


class Lora(NamedTuple):
    """Low-rank adapters: ``x @ kernel + (alpha / rank) · (x @ a) @ b`` with ``a`` random and ``b`` zero at the start.

    Attributes:
      rank: columns of ``a``.
      alpha: scale; the adapter is multiplied by ``alpha / rank``.
      targets: names of the dense layers that get one: query, key, value, output, up, gate, down.
    """

    rank: int = 8
    alpha: float = 16.0
    targets: tuple[str, ...] = ("query", "value")


class Added(NamedTuple):
    """What fine-tuning adds to an architecture.

    Attributes:
      lora: low-rank adapters; None: none.
      prompt_length: trained vectors before the embedded text (soft prompt).
      prefix_length: trained keys and values in every block (prefix tuning).
    """

    lora: Lora | None = None
    prompt_length: int = 0
    prefix_length: int = 0


def wide(vector: Array, x: Array) -> Array:
    """A parameter of the last axis, in the dtype of ``x`` and with as many axes."""
    return vector.astype(x.dtype).reshape((1,) * (x.ndim - 1) + vector.shape)


def settled(x: Array) -> Array:
    """``x``, finished before it is used: XLA's CPU backend would compute it again inside a slower loop."""
    return jax.lax.optimization_barrier(x) if jax.default_backend() == "cpu" else x


class Adapter(nnx.Module):
    """The low-rank path beside a dense layer."""

    def __init__(self, features_in: int, features_out: int, lora: Lora, rngs: nnx.Rngs):
        # As in PEFT: what comes out of a random ``a`` keeps the scale of its input.
        self.a = nnx.Param(nnx.initializers.he_uniform()(rngs.params(), (features_in, lora.rank)))
        self.b = nnx.Param(jnp.zeros((lora.rank, features_out)))
        self.scale = lora.alpha / lora.rank

    def __call__(self, x: Float[Array, "*length features_in"]) -> Float[Array, "*length features_out"]:
        low = x @ self.a.get_value().astype(x.dtype)
        return (low @ self.b.get_value().astype(x.dtype)) * jnp.asarray(self.scale, x.dtype)


class Dense(nnx.Module):
    """``x @ kernel + bias``, with an adapter where the plan puts one."""

    def __init__(self, name: str, features_in: int, features_out: int, bias: bool, added: Added, rngs: nnx.Rngs):
        self.kernel = nnx.Param(_START(rngs.params(), (features_in, features_out)))
        self.bias = nnx.Param(jnp.zeros(features_out)) if bias else None
        targeted = added.lora is not None and name in added.lora.targets
        self.lora = Adapter(features_in, features_out, added.lora, rngs) if targeted and added.lora else None

    def __call__(self, x: Float[Array, "*length features_in"]) -> Float[Array, "*length features_out"]:
        y = x @ self.kernel.get_value().astype(x.dtype)
        if self.lora is not None:
            y = y + self.lora(x)
        return y if self.bias is None else y + wide(self.bias.get_value(), y)


class Norm(nnx.Module):
    """LayerNorm or RMSNorm, computed in float32."""

    def __init__(self, kind: str, width: int, epsilon: float):
        self.scale = nnx.Param(jnp.ones(width))
        self.bias = nnx.Param(jnp.zeros(width)) if kind == "layer" else None
        self.epsilon = epsilon

    def __call__(self, x: Float[Array, "*length width"]) -> Float[Array, "*length width"]:
        y = x.astype(jnp.float32)
        if self.bias is not None:
            y = y - jnp.mean(y, axis=-1, keepdims=True)
        y = y * jax.lax.rsqrt(jnp.mean(jnp.square(y), axis=-1, keepdims=True) + self.epsilon)
        y = y * wide(self.scale.get_value(), y)
        return (y if self.bias is None else y + wide(self.bias.get_value(), y)).astype(x.dtype)


class Prefix(nnx.Module):
    """Trained keys and values that every token of a block sees."""

    def __init__(self, length: int, arch: Architecture, rngs: nnx.Rngs):
        shape = length, arch.num_kv_heads, arch.head_width
        self.key = nnx.Param(_START(rngs.params(), shape))
        self.value = nnx.Param(_START(rngs.params(), shape))


class Memory(NamedTuple):
    """The keys and values of tokens read before, so that a next one costs one token.

    Attributes:
      keys: ``[capacity, kv_heads, head_width]``, of one block; a leading axis where blocks are stacked.
      values: the same.
    """

    keys: Float[Array, "*layers capacity kv_heads head"]
    values: Float[Array, "*layers capacity kv_heads head"]


class Sight(NamedTuple):
    """Who sees whom, and where everyone stands; the same for all blocks.

    Attributes:
      mask: ``[tokens, seen]``; True where a token may look.
      rotation: (cosines, sines) ``[tokens, head_width / 2]`` of rotary positions; None: they are learned.
      start: where in a memory the tokens are written.
    """

    mask: Bool[Array, "tokens seen"]
    rotation: tuple[Array, Array] | None
    start: Int[Array, ""] | int = 0


def rotation_of(positions: Int[Array, "tokens"], head_width: int, base: float) -> tuple[Array, Array]:
    """Cosines and sines of rotary positions, ``[tokens, head_width / 2]`` float32."""
    rates = base ** (-jnp.arange(0, head_width, 2, dtype=jnp.float32) / head_width)
    angles = positions.astype(jnp.float32)[:, None] * rates[None, :]
    return jnp.cos(angles), jnp.sin(angles)


def rotate(x: Float[Array, "tokens heads head"], rotation: tuple[Array, Array]) -> Float[Array, "tokens heads head"]:
    """Turns the pairs (i, i + head/2) of every head by their positions' angles."""
    cosine, sine = (part[:, None, :] for part in rotation)
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    turned = jnp.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1)
    return turned.astype(x.dtype)


class Attention(nnx.Module):
    """Attention of one example's tokens, with grouped heads, rotary positions, a trained prefix and a memory."""

    def __init__(self, arch: Architecture, added: Added, rngs: nnx.Rngs):
        inner, shared = arch.num_heads * arch.head_width, arch.num_kv_heads * arch.head_width
        self.query = Dense("query", arch.width, inner, arch.bias, added, rngs)
        self.key = Dense("key", arch.width, shared, arch.bias, added, rngs)
        self.value = Dense("value", arch.width, shared, arch.bias, added, rngs)
        self.output = Dense("output", inner, arch.width, arch.bias, added, rngs)
        self.prefix = Prefix(added.prefix_length, arch, rngs) if added.prefix_length else None
        self.groups = arch.num_heads // arch.num_kv_heads
        self.head_width = arch.head_width

    def __call__(
        self, x: Float[Array, "tokens width"], sight: Sight, memory: Memory | None
    ) -> tuple[Float[Array, "tokens width"], Memory | None]:
        tokens = x.shape[0]
        query = self.query(x).reshape(tokens, -1, self.head_width)
        key, value = (layer(x).reshape(tokens, -1, self.head_width) for layer in (self.key, self.value))
        if sight.rotation is not None:
            query, key = rotate(query, sight.rotation), rotate(key, sight.rotation)
        if memory is not None:
            where = sight.start, 0, 0
            key = jax.lax.dynamic_update_slice(memory.keys, key.astype(memory.keys.dtype), where)
            value = jax.lax.dynamic_update_slice(memory.values, value.astype(memory.values.dtype), where)
            memory = Memory(key, value)
        mask = sight.mask
        if self.prefix is not None:
            ahead = self.prefix.key.get_value(), self.prefix.value.get_value()
            key, value = (jnp.concatenate([p.astype(x.dtype), y]) for p, y in zip(ahead, (key, value), strict=True))
            mask = jnp.concatenate([jnp.ones((tokens, ahead[0].shape[0]), bool), mask], axis=1)
        query = query.reshape(tokens, -1, self.groups, self.head_width) * jnp.asarray(self.head_width**-0.5, x.dtype)
        scores = settled(jnp.einsum("tkgc,skc->kgts", query, key))
        # A finite floor: a token that sees nobody then averages instead of giving NaN.
        scores = jnp.where(mask[None, None], scores.astype(jnp.float32), -1e30)
        weights = settled(jax.nn.softmax(scores, axis=-1).astype(x.dtype))
        mixed = jnp.einsum("kgts,skc->tkgc", weights, value)
        return self.output(mixed.reshape(tokens, -1)), memory


class Mlp(nnx.Module):
    """The two-matrix MLP, or the gated one of three."""

    def __init__(self, arch: Architecture, added: Added, rngs: nnx.Rngs):
        self.up = Dense("up", arch.width, arch.hidden_width, arch.mlp_bias, added, rngs)
        gate = Dense("gate", arch.width, arch.hidden_width, arch.mlp_bias, added, rngs) if arch.gated else None
        self.gate = gate
        self.down = Dense("down", arch.hidden_width, arch.width, arch.mlp_bias, added, rngs)
        self.activation = arch.activation

    def __call__(self, x: Float[Array, "tokens width"]) -> Float[Array, "tokens width"]:
        act = _ACTIVATIONS[self.activation]
        up = settled(self.up(x))
        hidden = act(up) if self.gate is None else act(settled(self.gate(x))) * up
        return self.down(settled(hidden))


class Block(nnx.Module):
    """Attention and MLP, each with its norm and its residual sum."""

    def __init__(self, arch: Architecture, added: Added, rngs: nnx.Rngs):
        self.attention = Attention(arch, added, rngs)
        self.attention_norm = Norm(arch.norm, arch.width, arch.norm_epsilon)
        self.mlp = Mlp(arch, added, rngs)
        self.mlp_norm = Norm(arch.norm, arch.width, arch.norm_epsilon)
        self.norm_first = arch.norm_first

    def __call__(self, x: Array, sight: Sight, memory: Memory | None = None) -> tuple[Array, Any]:
        if self.norm_first:
            mixed, memory = self.attention(self.attention_norm(x), sight, memory)
            x = x + mixed
            return x + self.mlp(self.mlp_norm(x)), memory
        mixed, memory = self.attention(x, sight, memory)
        x = self.attention_norm(x + mixed)
        return self.mlp_norm(x + self.mlp(x)), memory
