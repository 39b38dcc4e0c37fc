"""Layers written by hand: convolution, pooling, attention, normalisation, recurrence."""

import jax
import jax.numpy as jnp
from jax import lax

from dpjax import user_gradient
from dpjax.types import UnitData
from tests.zoo.core import cross_entropy, entry, flags, real, score, whole

# --- Convolution and pooling ----------------------------------------------------------------------------------------


def conv(x, w, layout, stride=1, padding="VALID", **options):
    """One example's convolution: the batch axis is added and taken away, as everybody does."""
    batch = layout[0].index("N")
    strides = (stride,) * (w.ndim - 2)
    out = lax.conv_general_dilated(jnp.expand_dims(x, batch), w, strides, padding, dimension_numbers=layout, **options)
    return jnp.squeeze(out, layout[2].index("N"))


NHWC = ("NHWC", "HWIO", "NHWC")
NCHW = ("NCHW", "OIHW", "NCHW")
NWC = ("NWC", "WIO", "NWC")
ODD = ("CHNW", "OHIW", "WNHC")
"""No library's layout."""

CONVOLUTIONS = {
    "nhwc_same_stride_2": ((3, 2, 2, 3), (6, 5, 2), NHWC, {"padding": "SAME", "stride": 2}),
    "nhwc_valid": ((2, 3, 2, 3), (4, 5, 2), NHWC, {}),
    "nchw_explicit_padding": ((3, 2, 2, 3), (2, 5, 4), NCHW, {"padding": ((1, 2), (0, 1))}),
    "nchw_stride_leaves_a_rest": ((3, 2, 2, 2), (2, 6, 7), NCHW, {"stride": 3}),
    "odd_layout": ((3, 2, 2, 2), (2, 4, 5), ODD, {}),
    "negative_padding": ((2, 2, 2, 3), (5, 5, 2), NHWC, {"padding": ((-1, 1), (2, -1))}),
    "nwc_dilated": ((2, 2, 3), (7, 2), NWC, {"rhs_dilation": (3,), "padding": ((2, 1),)}),
    "nwc_causal": ((3, 2, 4), (5, 2), NWC, {"padding": ((2, 0),)}),
    "lhs_dilated": ((3, 2, 2, 3), (3, 4, 2), NHWC, {"lhs_dilation": (2, 3), "padding": ((1, 1), (2, 0))}),
    "groups": ((2, 2, 2, 6), (4, 4, 4), NHWC, {"feature_group_count": 2}),
    "groups_nchw": ((6, 2, 2, 2), (4, 4, 5), NCHW, {"feature_group_count": 2, "padding": "SAME"}),
    "depthwise": ((2, 3, 1, 6), (4, 5, 3), NHWC, {"feature_group_count": 3, "padding": "SAME"}),
    "depthwise_1d": ((3, 1, 4), (6, 4), NWC, {"feature_group_count": 4}),
    "pointwise": ((1, 1, 3, 2), (3, 4, 3), NHWC, {}),
    "kernel_as_large_as_the_image": ((4, 3, 2, 3), (4, 3, 2), NHWC, {}),
    "three_dimensions": ((2, 1, 2, 2, 2), (3, 2, 3, 2), ("NHWDC", "HWDIO", "NHWDC"), {"stride": 2, "padding": "SAME"}),
}
for _name, (_kernel, _image, _layout, _options) in CONVOLUTIONS.items():

    @entry({"w": _kernel}, real(*_image), name=f"conv_{_name}")
    def convolution(p, x, key, layout=_layout, options=_options):
        return score(jnp.tanh(conv(x, p["w"], layout, **options)))


@entry({"w": (2, 2, 2, 3), "b": (3,), "w2": (2, 2, 3, 2), "out": (8, 3)}, (real(6, 6, 2), whole(0, 3)))
def cnn_max_pool(p, example, key):
    x, y = example
    x = jax.nn.relu(conv(x, p["w"], NHWC, padding="SAME") + p["b"])
    x = lax.reduce_window(x, -jnp.inf, lax.max, (2, 2, 1), (2, 2, 1), "VALID")
    x = jnp.tanh(conv(x, p["w2"], NHWC))
    return cross_entropy(x.reshape(-1) @ p["out"], y)


@entry({"w": (3, 2, 2, 2), "b": (3, 1, 1), "out": (3, 2)}, real(2, 5, 5))
def cnn_average_pool(p, x, key):
    x = jnp.tanh(conv(x, p["w"], NCHW, padding="SAME") + p["b"])
    x = lax.reduce_window(x, 0.0, lax.add, (1, 3, 3), (1, 2, 2), "SAME") / 9
    return score(x.mean((1, 2)) @ p["out"])


@entry({"w": (3, 2, 4, 2), "w2": (2, 2, 2, 3)}, real(3, 3, 2))
def conv_transpose(p, x, key):
    x = lax.conv_transpose(x[None], p["w"], (2, 1), "SAME", transpose_kernel=True, dimension_numbers=NHWC)
    return score(lax.conv_transpose(jnp.tanh(x)[..., :2], p["w2"], (1, 2), "VALID", dimension_numbers=NHWC))


@entry({"w": (3, 3, 2, 3), "g": (3,)}, real(4, 4, 2))
def conv_weight_standardised(p, x, key):
    w = p["w"] - p["w"].mean((0, 1, 2))
    w = p["g"] * w / jnp.sqrt(w.var((0, 1, 2)) + 1e-3)
    return score(jnp.tanh(conv(x, w, NHWC)))


@entry({"w": (2, 2, 2, 2)}, real(5, 5, 2))
def conv_twice_with_one_kernel(p, x, key):
    return score(conv(jnp.tanh(conv(x, p["w"], NHWC, padding="SAME")), p["w"], NHWC, stride=2))


@entry({"image": (1, 4, 4, 2)}, real(2, 2, 2, 3))
def conv_with_the_parameter_as_image(p, kernel, key):
    return score(lax.conv_general_dilated(p["image"], kernel, (1, 1), "SAME", dimension_numbers=NHWC))


@entry({"w": (2, 2, 2, 4)}, real(2, 4, 4, 2))
def conv_batch_groups(p, x, key):
    return score(lax.conv_general_dilated(x, p["w"], (1, 1), "SAME", dimension_numbers=NHWC, batch_group_count=2))


@entry({"w": (2, 2, 2, 3)}, real(3, 4, 4, 2))
def conv_over_frames(p, x, key):
    frames = lax.conv_general_dilated(x, p["w"], (2, 2), "SAME", dimension_numbers=NHWC)
    mapped = jax.vmap(lambda frame: conv(frame, p["w"], NHWC))(x)
    return score(jnp.tanh(frames)) + score(mapped)


@entry({"w": (3,), "patches": (8, 3)}, (real(6), real(4, 4, 2)))
def convolve_and_patches(p, example, key):
    signal, image = example
    patches = lax.conv_general_dilated_patches(image[None], (2, 2), (1, 1), "VALID", dimension_numbers=NHWC)[0]
    return score(jnp.convolve(signal, p["w"])) + score(jnp.tanh(patches @ p["patches"]))


# --- Attention and normalisation ------------------------------------------------------------------------------------


def layer_norm(x, scale, bias=0.0):
    x = x - x.mean(-1, keepdims=True)
    return x * lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-3) * scale + bias


HEADS = {"q": (4, 2, 3), "k": (4, 2, 3), "v": (4, 2, 3), "o": (2, 3, 4)}


def attention(p, x, mask):
    q, k, v = (jnp.einsum("td,dhk->thk", x, p[name]) for name in "qkv")
    logits = jnp.where(mask, jnp.einsum("thk,shk->hts", q, k) / 3**0.5, -1e9)
    return jnp.einsum("hts,shk,hko->to", jax.nn.softmax(logits), v, p["o"])


@entry({**HEADS, "bias": (4,)}, real(5, 4))
def attention_causal(p, x, key):
    return score(attention(p, x, jnp.tril(jnp.ones((5, 5), bool))) + p["bias"])


@entry(HEADS, (real(5, 4), whole(0, 2, 5)))
def attention_masked(p, example, key):
    x, valid = example
    return score(attention(p, x, valid.at[0].set(1)[None, None] > 0))


@entry({"q": (4, 6), "kv": (4, 3, 2), "bias": (2, 5, 5)}, real(5, 4))
def attention_grouped_query_with_relative_bias(p, x, key):
    q = (x @ p["q"]).reshape(5, 2, 3)
    k, v = jnp.moveaxis(jnp.tensordot(x, p["kv"], 1), -1, 0)
    k, v = (jnp.repeat(a[:, None], 2, axis=1) for a in (k, v))
    logits = jnp.einsum("thk,shk->hts", q, k) + p["bias"]
    return score(jnp.einsum("hts,shk->thk", jax.nn.softmax(logits), v))


@entry({"qkv": (4, 3, 4)}, real(5, 4))
def attention_of_jax(p, x, key):
    q, k, v = jnp.einsum("td,dce->cte", x, p["qkv"])
    with jax.numpy_dtype_promotion("standard"):
        out = jax.nn.dot_product_attention(*(a.reshape(1, 5, 2, 2) for a in (q, k, v)), is_causal=True)
    return score(out)


@entry({"scale": (4,), "bias": (4,), "rms": (4,), "group": (2, 1, 2), "w": (4, 3)}, real(5, 4))
def norms_of_three_kinds(p, x, key):
    x = layer_norm(x, 1 + p["scale"], p["bias"])
    x = x * lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-3) * p["rms"]
    groups = x.reshape(5, 2, 2).transpose(1, 0, 2)
    groups = (groups - groups.mean((1, 2), keepdims=True)) / jnp.sqrt(groups.var((1, 2), keepdims=True) + 1e-3)
    return score((groups * p["group"]).transpose(1, 0, 2).reshape(5, 4) @ p["w"])


BLOCK = {"norm1": (4,), "norm2": (4,), **HEADS, "up": (4, 6), "up_bias": (6,), "down": (6, 4)}


def transformer_block(p, x):
    mask = jnp.tril(jnp.ones((x.shape[0], x.shape[0]), bool))
    x = x + attention(p, layer_norm(x, p["norm1"]), mask)
    return x + jax.nn.gelu(layer_norm(x, p["norm2"]) @ p["up"] + p["up_bias"]) @ p["down"]


@entry({"embed": (6, 4), "pos": (8, 4), "blocks": [BLOCK, BLOCK], "norm": (4,)}, whole(0, 6, 5))
def transformer_tied(p, ids, key):
    x = 2.0 * p["embed"][ids] + p["pos"][: ids.shape[0]]
    for block in p["blocks"]:
        x = transformer_block(block, x)
    return cross_entropy((layer_norm(x, p["norm"]) @ p["embed"].T)[:-1], ids[1:])


# --- Recurrence over time -------------------------------------------------------------------------------------------


def lstm_cell(p, carry, x):
    h, c = carry
    i, f, g, o = jnp.split(x @ p["wi"] + h @ p["wh"] + p["b"], 4)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return (h, c), h


LSTM = {"wi": (2, 12), "wh": (3, 12), "b": (12,)}


@entry(LSTM | {"out": (3, 2)}, real(4, 2))
def lstm(p, xs, key):
    zero = jnp.zeros(3, xs.dtype)
    return score(lax.scan(lambda carry, x: lstm_cell(p, carry, x), (zero, zero), xs)[1] @ p["out"])


@entry(LSTM | {"h0": (3,), "c0": (3,)}, real(4, 2))
def lstm_reversed_with_learned_start(p, xs, key):
    return score(lax.scan(lambda carry, x: lstm_cell(p, carry, x), (p["h0"], p["c0"]), xs, reverse=True)[0][0])


@entry({"gates": (5, 6), "b": (6,), "new": (5, 3), "h0": (3,)}, (real(4, 2), whole(1, 5)))
def gru_with_length(p, example, key):
    xs, length = example

    def cell(carry, x):
        h, t = carry
        z, r = jnp.split(jax.nn.sigmoid(jnp.concatenate([x, h]) @ p["gates"] + p["b"]), 2)
        new = (1 - z) * h + z * jnp.tanh(jnp.concatenate([x, r * h]) @ p["new"])
        return (jnp.where(t < length, new, h), t + 1), new

    return score(lax.scan(cell, (jnp.tanh(p["h0"]), jnp.int32(0)), xs)[0][0])


@entry({"decay": (3,), "w_in": (2, 3)}, real(5, 2))
def linear_recurrence_by_associative_scan(p, xs, key):
    decay = jnp.broadcast_to(jax.nn.sigmoid(p["decay"]), (5, 3))
    out = lax.associative_scan(lambda a, b: (a[0] * b[0], b[0] * a[1] + b[1]), (decay, xs @ p["w_in"]))[1]
    return score(out)


# --- Users with several records -------------------------------------------------------------------------------------


@entry({"w": (3, 2), "b": (2,)}, UnitData(real(4, 3), flags(4)), contribution=user_gradient)
def user_with_ragged_records(p, x, key):
    keep = (jax.random.uniform(key, (3,), jnp.float32) < 0.7).astype(x.dtype)
    return score(jnp.tanh(x * keep @ p["w"] + p["b"])), {"size": jnp.sum(x)}


@entry({"embed": (5, 3), "w": (2, 3, 2)}, UnitData(whole(0, 5, 3, 4), flags(3)), contribution=user_gradient)
def user_with_token_records(p, ids, key):
    return score(jnp.tanh(conv(p["embed"][ids], p["w"], NWC)))
