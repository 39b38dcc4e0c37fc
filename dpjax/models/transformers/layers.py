"""The parts of a transformer: dense layers that an adapter may sit on, norms, attention, the MLP."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from dpjax.models.transformers.architecture import Architecture
from dpjax.models.transformers.narrow import Matrix, product, widened
from dpjax.models.transformers.rotary import rotate

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
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
      dora: the sum of kernel and adapter has a trained length for each output, and only its direction is theirs.
    """

    rank: int = 8
    alpha: float = 16.0
    targets: tuple[str, ...] = ("query", "value")
    dora: bool = False


class Ia3(NamedTuple):
    """Trained vectors that scale what dense layers put out, or are given; ones at the start.

    Attributes:
      outputs: names of the dense layers whose outputs are scaled.
      inputs: of those whose inputs are.
    """

    outputs: tuple[str, ...] = ("key", "value")
    inputs: tuple[str, ...] = ("down",)


class SoftPrompt(NamedTuple):
    """Trained vectors that stand before a text.

    Attributes:
      length: how many.
      everywhere: keys and values in every block (prefix tuning) instead of embedded tokens before the first.
    """

    length: int = 8
    everywhere: bool = False


class Added(NamedTuple):
    """What fine-tuning adds to an architecture.

    Attributes:
      lora: low-rank adapters; None: none.
      ia3: vectors that scale activations; None: none.
      prompt_length: trained vectors before the embedded text (soft prompt).
      prefix_length: trained keys and values in every block (prefix tuning).
    """

    lora: Lora | None = None
    ia3: Ia3 | None = None
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
        self.magnitude = nnx.Param(jnp.ones(features_out)) if lora.dora else None
        self.scale = lora.alpha / lora.rank

    def turned(self, y: Float[Array, "*length features_out"], kernel: Matrix) -> Float[Array, "*length features_out"]:
        """Outputs of kernel and adapter; with DoRA at their trained length, where that of the sum is a constant."""
        if self.magnitude is None:
            return y
        a, b = (jax.lax.stop_gradient(half.get_value()) for half in (self.a, self.b))
        whole = widened(kernel, a.shape[0]) + self.scale * (a @ b).astype(jnp.float32)
        norms = jnp.sqrt(jnp.sum(jnp.square(whole), axis=0))
        shares = jax.lax.stop_gradient(jnp.where(norms > 0, 1 / jnp.where(norms > 0, norms, 1), 0))
        return y * wide(shares, y) * wide(self.magnitude.get_value(), y)

    def __call__(self, x: Float[Array, "*length features_in"]) -> Float[Array, "*length features_out"]:
        low = x @ self.a.get_value().astype(x.dtype)
        return (low @ self.b.get_value().astype(x.dtype)) * jnp.asarray(self.scale, x.dtype)


class Scales(nnx.Module):
    """IA³'s vectors of a dense layer."""

    def __init__(self, inputs: int | None, outputs: int | None):
        self.inputs = None if inputs is None else nnx.Param(jnp.ones(inputs))
        self.outputs = None if outputs is None else nnx.Param(jnp.ones(outputs))


class Dense(nnx.Module):
    """``x @ kernel + bias``, with an adapter where the plan puts one."""

    def __init__(self, name: str, features_in: int, features_out: int, bias: bool, added: Added, rngs: nnx.Rngs):
        self.kernel = nnx.Param(_START(rngs.params(), (features_in, features_out)))
        self.bias = nnx.Param(jnp.zeros(features_out)) if bias else None
        targeted = added.lora is not None and name in added.lora.targets
        self.lora = Adapter(features_in, features_out, added.lora, rngs) if targeted and added.lora else None
        given = features_in if added.ia3 is not None and name in added.ia3.inputs else None
        put = features_out if added.ia3 is not None and name in added.ia3.outputs else None
        self.ia3 = Scales(given, put) if given or put else None

    def __call__(self, x: Float[Array, "*length features_in"]) -> Float[Array, "*length features_out"]:
        if self.ia3 is not None and self.ia3.inputs is not None:
            x = x * wide(self.ia3.inputs.get_value(), x)
        kernel = self.kernel.get_value()
        y = product(x, kernel)
        if self.lora is not None:
            y = self.lora.turned(y + self.lora(x), kernel)
        y = y if self.bias is None else y + wide(self.bias.get_value(), y)
        if self.ia3 is not None and self.ia3.outputs is not None:
            y = y * wide(self.ia3.outputs.get_value(), y)
        return y


class Norm(nnx.Module):
    """LayerNorm or RMSNorm, computed in float32."""

    def __init__(self, arch: Architecture, width: int | None = None):
        width = arch.width if width is None else width
        self.scale = nnx.Param(jnp.full(width, 1 - arch.norm_offset))
        self.bias = nnx.Param(jnp.zeros(width)) if arch.norm == "layer" and arch.norm_bias else None
        self.centred, self.epsilon, self.offset = arch.norm == "layer", arch.norm_epsilon, arch.norm_offset

    def __call__(self, x: Float[Array, "*length width"]) -> Float[Array, "*length width"]:
        y = x.astype(jnp.float32)
        if self.centred:
            y = y - jnp.mean(y, axis=-1, keepdims=True)
        y = y * jax.lax.rsqrt(jnp.mean(jnp.square(y), axis=-1, keepdims=True) + self.epsilon)
        scaled = y * wide(self.scale.get_value(), y)
        y = y * self.offset + scaled if self.offset else scaled
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
    """Who sees whom, and where everyone stands: of one layer, or of each kind of layers with a leading axis.

    Attributes:
      mask: ``[tokens, seen]``; True where a token may look.
      rotation: (cosines, sines) ``[tokens, pairs]`` of rotary positions; None: heads do not turn.
      start: where in a memory the tokens are written.
    """

    mask: Bool[Array, "*kinds tokens seen"]
    rotation: tuple[Array, Array] | None
    start: Int[Array, ""] | int = 0

    def of(self, kind: int | Int[Array, ""]) -> "Sight":
        """That of one kind."""
        turned = None if self.rotation is None else (self.rotation[0][kind], self.rotation[1][kind])
        return Sight(self.mask[kind], turned, self.start)


class Attention(nnx.Module):
    """Attention of one example's tokens, with grouped heads, rotary positions, a trained prefix and a memory."""

    def __init__(self, arch: Architecture, added: Added, rngs: nnx.Rngs):
        inner, shared = arch.num_heads * arch.head_width, arch.num_kv_heads * arch.head_width
        self.query = Dense("query", arch.width, inner, arch.bias, added, rngs)
        self.key = Dense("key", arch.width, shared, arch.bias, added, rngs)
        self.value = Dense("value", arch.width, shared, arch.bias, added, rngs)
        self.output = Dense("output", inner, arch.width, arch.output_bias, added, rngs)
        normed = {"head": (arch.head_width, arch.head_width), "all": (inner, shared)}.get(arch.query_norm or "")
        self.query_norm = Norm(arch, normed[0]) if normed else None
        self.key_norm = Norm(arch, normed[1]) if normed else None
        self.normed_whole = arch.query_norm == "all"
        self.scale = (arch.head_width if arch.query_scalar is None else arch.query_scalar) ** -0.5
        self.cap = arch.attention_cap
        self.prefix = Prefix(added.prefix_length, arch, rngs) if added.prefix_length else None
        self.groups = arch.num_heads // arch.num_kv_heads
        self.head_width = arch.head_width

    def __call__(
        self, x: Float[Array, "tokens width"], sight: Sight, memory: Memory | None
    ) -> tuple[Float[Array, "tokens width"], Memory | None]:
        tokens = x.shape[0]
        query, key = self._normed(self.query(x), self.query_norm), self._normed(self.key(x), self.key_norm)
        value = self.value(x).reshape(tokens, -1, self.head_width)
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
        query = query.reshape(tokens, -1, self.groups, self.head_width) * jnp.asarray(self.scale, x.dtype)
        scores = settled(jnp.einsum("tkgc,skc->kgts", query, key))
        if self.cap is not None:
            scores = capped(scores, self.cap)
        # A finite floor: a token that sees nobody then averages instead of giving NaN.
        scores = jnp.where(mask[None, None], scores.astype(jnp.float32), -1e30)
        weights = settled(jax.nn.softmax(scores, axis=-1).astype(x.dtype))
        mixed = jnp.einsum("kgts,skc->tkgc", weights, value)
        return self.output(mixed.reshape(tokens, -1)), memory

    def _normed(self, x: Float[Array, "tokens inner"], norm: Norm | None) -> Float[Array, "tokens heads head"]:
        heads = x.shape[0], -1, self.head_width
        if norm is None:
            return x.reshape(heads)
        return norm(x).reshape(heads) if self.normed_whole else norm(x.reshape(heads))


class Mlp(nnx.Module):
    """The two-matrix MLP, or the gated one of three."""

    def __init__(self, arch: Architecture, added: Added, rngs: nnx.Rngs):
        self.up = Dense("up", arch.width, arch.hidden_width, arch.mlp_bias, added, rngs)
        gate = Dense("gate", arch.width, arch.hidden_width, arch.mlp_bias, added, rngs) if arch.gated else None
        self.gate = gate
        self.down = Dense("down", arch.hidden_width, arch.width, arch.mlp_bias, added, rngs)
        self.activation = arch.activation

    def __call__(self, x: Float[Array, "tokens width"]) -> Float[Array, "tokens width"]:
        act = ACTIVATIONS[self.activation]
        up = settled(self.up(x))
        hidden = act(up) if self.gate is None else act(settled(self.gate(x))) * up
        return self.down(settled(hidden))


class Block(nnx.Module):
    """Attention and MLP, each with its norms and its residual sum."""

    def __init__(self, arch: Architecture, added: Added, rngs: nnx.Rngs, first: bool = False):
        self.attention = Attention(arch, added, rngs)
        self.attention_norm = None if first and not arch.first_norm else Norm(arch)
        self.mlp = Mlp(arch, added, rngs)
        self.mlp_norm = Norm(arch)
        both = arch.residual == "both"
        self.attention_output_norm = Norm(arch) if both else None
        self.mlp_output_norm = Norm(arch) if both else None
        self.residual = arch.residual

    def __call__(self, x: Array, sight: Sight, memory: Memory | None = None) -> tuple[Array, Any]:
        before = self.residual in ("pre", "both", "parallel")
        mixed, memory = self.attention(_by(self.attention_norm, x) if before else x, sight, memory)
        match self.residual:
            case "post":
                x = _by(self.attention_norm, x + mixed)
                return self.mlp_norm(x + self.mlp(x)), memory
            case "output":
                x = x + _by(self.attention_norm, mixed)
                return x + self.mlp_norm(self.mlp(x)), memory
            case "parallel":
                return x + mixed + self.mlp(self.mlp_norm(x)), memory
            case _:  # "pre", and "both" with norms of what is added
                x = x + _by(self.attention_output_norm, mixed)
                return x + _by(self.mlp_output_norm, self.mlp(self.mlp_norm(x))), memory


def _by(norm: Norm | None, x: Array) -> Array:
    return x if norm is None else norm(x)


def capped(x: Array, cap: float) -> Array:
    """Held below ``cap`` on both sides, smoothly."""
    return (jnp.tanh(x.astype(jnp.float32) / cap) * cap).astype(x.dtype)
