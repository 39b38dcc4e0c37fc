"""The same in libraries: Flax NNX, Flax Linen and Equinox as people write them."""

from typing import Any

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import nnx

from tests.zoo.core import add, cross_entropy, draw_like, real, score, whole

# --- Flax NNX -------------------------------------------------------------------------------------------------------


def nnx_entry(units: Any, **extra: Any):
    """Registers a module class: ``__init__(dtypes, rngs)``, and ``loss(example)`` for one example."""

    def register(cls: Any):
        def make_model(key, dtype):
            dtypes = {"dtype": dtype, "param_dtype": dtype}
            abstract = nnx.eval_shape(lambda: cls(dtypes, nnx.Rngs(0)))
            graph, shapes, rest = nnx.split(abstract, nnx.Param, ...)
            rest = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), rest)

            def loss_fn(params, example, key):
                with jax.numpy_dtype_promotion("standard"):
                    return nnx.merge(graph, params, rest).loss(example)

            return draw_like(key, shapes, dtype), loss_fn

        add(f"nnx_{cls.__name__}", make_model, units, **extra)
        return cls

    return register


@nnx_entry((real(4), whole(0, 3)))
class Mlp(nnx.Module):
    def __init__(self, dtypes, rngs):
        self.first = nnx.Linear(4, 5, rngs=rngs, **dtypes)
        self.layers = nnx.List([nnx.Linear(5, 5, use_bias=False, rngs=rngs, **dtypes) for _ in range(2)])
        self.out = nnx.Linear(5, 3, rngs=rngs, **dtypes)

    def loss(self, example):
        x, y = example
        x = nnx.gelu(self.first(x))
        for layer in self.layers:
            x = nnx.relu(layer(x))
        return cross_entropy(self.out(x), y)


@nnx_entry((real(6, 6, 2), whole(0, 3)))
class Cnn(nnx.Module):
    def __init__(self, dtypes, rngs):
        self.conv = nnx.Conv(2, 4, (3, 3), strides=2, rngs=rngs, **dtypes)
        self.grouped = nnx.Conv(4, 4, (2, 2), padding="VALID", feature_group_count=2, rngs=rngs, **dtypes)
        self.up = nnx.ConvTranspose(4, 3, (2, 2), strides=(2, 1), rngs=rngs, **dtypes)
        self.norm = nnx.GroupNorm(4, num_groups=2, rngs=rngs, **dtypes)

    def loss(self, example):
        x, y = example
        x = nnx.silu(self.norm(nnx.avg_pool(self.conv(x), (2, 2), (1, 1), "SAME")))
        return cross_entropy(self.up(self.grouped(x)).mean((0, 1)), y)


@nnx_entry(whole(0, 5, 4))
class Transformer(nnx.Module):
    def __init__(self, dtypes, rngs):
        self.embed = nnx.Embed(5, 4, rngs=rngs, **dtypes)
        self.pos = nnx.Param(jnp.zeros((6, 4), dtypes["param_dtype"]))
        self.norm1 = nnx.LayerNorm(4, rngs=rngs, **dtypes)
        self.norm2 = nnx.RMSNorm(4, rngs=rngs, **dtypes)
        self.attend = nnx.MultiHeadAttention(num_heads=2, in_features=4, decode=False, rngs=rngs, **dtypes)
        self.up = nnx.Linear(4, 6, rngs=rngs, **dtypes)
        self.down = nnx.LinearGeneral(6, (2, 2), rngs=rngs, **dtypes)

    def loss(self, ids):
        x = self.embed(ids) + self.pos[:4]
        x = x + self.attend(self.norm1(x), mask=nnx.make_causal_mask(ids))
        x = x + self.down(nnx.gelu(self.up(self.norm2(x)))).reshape(4, 4)
        return cross_entropy(self.embed.attend(x)[:-1], ids[1:])


@nnx_entry(real(3, 2))
class Recurrent(nnx.Module):
    def __init__(self, dtypes, rngs):
        self.lstm = nnx.RNN(nnx.OptimizedLSTMCell(2, 3, keep_rngs=False, rngs=rngs, **dtypes))
        self.gru = nnx.RNN(nnx.GRUCell(3, 3, keep_rngs=False, rngs=rngs, **dtypes), reverse=True)

    def loss(self, x):
        zero = jnp.zeros(3, x.dtype)
        return score(self.gru(self.lstm(x, initial_carry=(zero, zero)), initial_carry=zero))


@nnx_entry(real(4))
class ScannedLayers(nnx.Module):
    def __init__(self, dtypes, rngs):
        @nnx.split_rngs(splits=3)
        @nnx.vmap(in_axes=(0,), out_axes=0)
        def make(rngs):
            return nnx.Linear(4, 4, rngs=rngs, **dtypes)

        self.layers = make(rngs)

    def loss(self, x):
        @nnx.scan(in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
        def run(x, layer):
            return jnp.tanh(layer(x))

        return score(run(x, self.layers))


@nnx_entry(real(4))
class LowRank(nnx.Module):
    def __init__(self, dtypes, rngs):
        self.first = nnx.LoRALinear(4, 5, lora_rank=2, rngs=rngs, **dtypes)
        self.scale = nnx.Param(jnp.zeros((), dtypes["param_dtype"]))
        self.out = nnx.Einsum("ti,oi->to", (3, 5), (3,), rngs=rngs, **dtypes)

    def loss(self, x):
        return score(self.out(jnp.tanh(self.first(x[None])) * self.scale))


# --- Flax Linen -----------------------------------------------------------------------------------------------------


def linen_entry(units: Any, **extra: Any):
    """Registers a module class with the field ``dtype``; its call takes one example and returns the loss."""

    def register(cls: Any):
        def make_model(key, dtype):
            module = cls(dtype)
            with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
                example = jax.tree.map(lambda s: jnp.zeros(s.shape, _dtype(s, dtype)), units, is_leaf=_is_spec)
                shapes = jax.eval_shape(module.init, jax.random.key(0), example)["params"]

            def loss_fn(params, example, key):
                with jax.numpy_dtype_promotion("standard"):
                    return module.apply({"params": params}, example)

            return draw_like(key, shapes, dtype), loss_fn

        add(f"linen_{cls.__name__.removeprefix('Linen')}", make_model, units, **extra)
        return cls

    return register


def _is_spec(tree: Any) -> bool:
    return hasattr(tree, "shape")


def _dtype(spec: Any, dtype: Any):
    return jnp.int32 if hasattr(spec, "low") else dtype


@linen_entry((real(5, 5, 2), whole(0, 3)))
class LinenCnn(nn.Module):
    dtype: Any

    @nn.compact
    def __call__(self, example):
        x, y = example
        d = {"dtype": self.dtype, "param_dtype": self.dtype}
        x = nn.relu(nn.Conv(4, (3, 3), kernel_dilation=2, **d)(x))
        x = nn.max_pool(nn.GroupNorm(2, **d)(x), (2, 2), (1, 1))
        x = jnp.tanh(nn.ConvTranspose(2, (2, 3), strides=(2, 1), transpose_kernel=True, **d)(x))
        x = nn.ConvLocal(2, (3, 2), (3, 2), **d)(x)
        return cross_entropy(nn.Dense(3, **d)(x.reshape(-1)), y)


class LinenBlock(nn.Module):
    dtype: Any

    @nn.compact
    def __call__(self, x, _):
        d = {"dtype": self.dtype, "param_dtype": self.dtype}
        mask = nn.make_causal_mask(jnp.zeros(x.shape[0]))
        x = x + nn.MultiHeadDotProductAttention(2, deterministic=True, **d)(nn.LayerNorm(**d)(x), mask=mask)
        h = nn.gelu(nn.DenseGeneral((2, 3), **d)(nn.RMSNorm(**d)(x)))
        return x + nn.DenseGeneral(4, axis=(-2, -1), **d)(h), None


@linen_entry(whole(0, 5, 4))
class LinenTransformer(nn.Module):
    dtype: Any

    @nn.compact
    def __call__(self, ids):
        embed = nn.Embed(5, 4, dtype=self.dtype, param_dtype=self.dtype)
        pos = self.param("pos", nn.initializers.zeros, (4, 4), self.dtype)
        x, _ = LinenBlock(self.dtype)(embed(ids) + pos, None)
        return cross_entropy(embed.attend(x)[:-1], ids[1:])


@linen_entry(real(4, 4))
class LinenScanOverRematBlocks(nn.Module):
    dtype: Any

    @nn.compact
    def __call__(self, x):
        stack = nn.scan(
            nn.remat(LinenBlock, prevent_cse=False), variable_axes={"params": 0}, split_rngs={"params": True}, length=2
        )
        return score(stack(self.dtype)(x, None)[0])


@linen_entry(real(3, 2))
class LinenRecurrent(nn.Module):
    dtype: Any

    @nn.compact
    def __call__(self, x):
        d = {"dtype": self.dtype, "param_dtype": self.dtype}
        x = nn.RNN(nn.OptimizedLSTMCell(3, **d))(x)
        return score(nn.RNN(nn.GRUCell(2, **d), reverse=True, keep_order=True)(x))


@linen_entry(real(4))
class LinenSharedAndNormalised(nn.Module):
    dtype: Any

    @nn.compact
    def __call__(self, x):
        d = {"dtype": self.dtype, "param_dtype": self.dtype}
        shared = nn.WeightNorm(nn.Dense(4, **d))
        x = jnp.tanh(shared(jnp.tanh(shared(x))))
        return score(nn.PReLU(param_dtype=self.dtype)(x))


# --- Equinox --------------------------------------------------------------------------------------------------------


def equinox_entry(units: Any, **extra: Any):
    """Registers ``build(key) -> pytree of modules`` with the loss that follows it."""

    def register(cls: Any):
        def make_model(key, dtype):
            shapes, static = eqx.partition(
                eqx.filter_eval_shape(cls, jax.random.key(0)), lambda x: isinstance(x, jax.ShapeDtypeStruct)
            )

            def loss_fn(params, example, key):
                with jax.numpy_dtype_promotion("standard"):
                    return eqx.combine(params, static).loss(example)

            return draw_like(key, shapes, dtype), loss_fn

        add(f"equinox_{cls.__name__.removeprefix('Eqx')}", make_model, units, **extra)
        return cls

    return register


@equinox_entry((real(4), whole(0, 3)))
class EqxMlp(eqx.Module):
    mlp: eqx.nn.MLP
    norm: eqx.nn.LayerNorm
    out: eqx.nn.Linear

    def __init__(self, key):
        self.mlp = eqx.nn.MLP(4, 5, 6, 2, activation=jax.nn.gelu, key=key)
        self.norm = eqx.nn.LayerNorm(5)
        self.out = eqx.nn.Linear(5, 3, key=key)

    def loss(self, example):
        x, y = example
        return cross_entropy(self.out(self.norm(self.mlp(x))), y)


@equinox_entry(real(2, 6, 6))
class EqxCnn(eqx.Module):
    layers: list

    def __init__(self, key):
        self.layers = [
            eqx.nn.Conv2d(2, 4, 3, stride=2, padding=1, key=key),
            eqx.nn.GroupNorm(2, 4),
            jax.nn.relu,
            eqx.nn.MaxPool2d(2, 1),
            eqx.nn.Conv2d(4, 4, 2, groups=2, key=key),
            eqx.nn.PReLU(0.2),
            eqx.nn.ConvTranspose2d(4, 3, 2, stride=2, key=key),
        ]

    def loss(self, x):
        for layer in self.layers:
            x = layer(x)
        return score(x)


@equinox_entry(whole(0, 5, 4))
class EqxAttention(eqx.Module):
    embed: eqx.nn.Embedding
    attention: eqx.nn.MultiheadAttention
    norm: eqx.nn.RMSNorm

    def __init__(self, key):
        self.embed = eqx.nn.Embedding(5, 4, key=key)
        self.attention = eqx.nn.MultiheadAttention(2, 4, use_query_bias=True, use_output_bias=True, key=key)
        self.norm = eqx.nn.RMSNorm(4)

    def loss(self, ids):
        x = jax.vmap(self.embed)(ids)
        h = jax.vmap(self.norm)(x)
        x = x + self.attention(h, h, h, mask=jnp.tril(jnp.ones((4, 4), bool)))
        return cross_entropy((x @ self.embed.weight.T)[:-1], ids[1:])


@equinox_entry(real(3, 2))
class EqxRecurrent(eqx.Module):
    lstm: eqx.nn.LSTMCell
    gru: eqx.nn.GRUCell

    def __init__(self, key):
        self.lstm = eqx.nn.LSTMCell(2, 3, key=key)
        self.gru = eqx.nn.GRUCell(3, 2, key=key)

    def loss(self, xs):
        zero = jnp.zeros(3, xs.dtype)
        (h, _), _ = jax.lax.scan(lambda carry, x: (self.lstm(x, carry), None), (zero, zero), xs)
        return score(jax.lax.scan(lambda c, x: (self.gru(h * x[0], c), None), zero[:2], xs)[0])


@equinox_entry(real(4))
class EqxStackedLayers(eqx.Module):
    layers: eqx.nn.Linear

    def __init__(self, key):
        self.layers = eqx.filter_vmap(lambda key: eqx.nn.Linear(4, 4, key=key))(jax.random.split(key, 3))

    def loss(self, x):
        arrays, static = eqx.partition(self.layers, eqx.is_array)
        return score(jax.lax.scan(lambda x, layer: (jnp.tanh(eqx.combine(layer, static)(x)), None), x, arrays)[0])
