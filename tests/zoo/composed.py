"""Random compositions: layers over a sequence, drawn and stacked by a seed."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tests.zoo.core import Entry, cross_entropy, draw_params, draw_units, real, relaxed, score, whole
from tests.zoo.layers import HEADS, NWC, attention, conv, layer_norm, lstm_cell

TIME, WIDTH, VOCABULARY = 4, 4, 5
CAUSAL = np.tril(np.ones((TIME, TIME), bool))
ACTIVATIONS = (jnp.tanh, jax.nn.gelu, jax.nn.silu, lambda x: jnp.maximum(x, 0.1 * x))


def dense(p, x, act):
    return act(x @ p["w"] + p["b"])


def lora(p, x, act):
    frozen = jnp.linspace(-1, 1, WIDTH * WIDTH).reshape(WIDTH, WIDTH).astype(x.dtype)
    return act(x @ frozen + (x @ p["down"]) @ p["up"])


def low_rank_merged(p, x, act):
    return act(jnp.einsum("oi,ti->to", p["up"].T @ p["down"].T, x))


def convolution(p, x, act):
    return x + act(conv(x, p["w"], NWC, padding="SAME") + p["b"])


def depthwise(p, x, act):
    return act(conv(x, p["w"], NWC, padding=((2, 0),), feature_group_count=WIDTH))


def heads(p, x, act):
    return x + attention(p, x, CAUSAL)


def norm(p, x, act):
    return layer_norm(x, 1 + p["scale"], p["bias"])


def rms_norm(p, x, act):
    return x * lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-2) * p["scale"]


def feed_forward(p, x, act):
    return x + act(x @ p["up"] + p["bias"]) @ p["down"]


def tied(p, x, act):
    return act(act(x @ p["w"]) @ p["w"].T)


def positions(p, x, act):
    return x + p["table"][1 : 1 + TIME]


def scanned(p, x, act):
    return lax.scan(lambda x, layer: (act(x @ layer["w"] + layer["b"]), None), x, p)[0]


def scanned_checkpoint(p, x, act):
    step = jax.checkpoint(lambda x, layer: x + act(layer_norm(x, layer["scale"]) @ layer["w"]))
    return lax.scan(lambda x, layer: (step(x, layer), None), x, p)[0]


def recurrent(p, x, act):
    zero = jnp.zeros(WIDTH, x.dtype)
    return lax.scan(lambda carry, x: lstm_cell(p, carry, x), (zero, zero), x)[1]


LAYERS: list[tuple[Any, Any]] = [
    (dense, {"w": (WIDTH, WIDTH), "b": (WIDTH,)}),
    (lora, {"down": (WIDTH, 2), "up": (2, WIDTH)}),
    (low_rank_merged, {"down": (WIDTH, 2), "up": (2, WIDTH)}),
    (convolution, {"w": (3, WIDTH, WIDTH), "b": (WIDTH,)}),
    (depthwise, {"w": (3, 1, WIDTH)}),
    (heads, HEADS),
    (norm, {"scale": (WIDTH,), "bias": (WIDTH,)}),
    (rms_norm, {"scale": (WIDTH,)}),
    (feed_forward, {"up": (WIDTH, 6), "bias": (6,), "down": (6, WIDTH)}),
    (tied, {"w": (WIDTH, 3)}),
    (positions, {"table": (7, WIDTH)}),
    (scanned, {"w": (3, WIDTH, WIDTH), "b": (3, WIDTH)}),
    (scanned_checkpoint, {"w": (2, WIDTH, WIDTH), "scale": (2, WIDTH)}),
    (recurrent, {"wi": (WIDTH, 4 * WIDTH), "wh": (WIDTH, 4 * WIDTH), "b": (4 * WIDTH,)}),
]


def compose(seed: int) -> Entry:
    """A model of one to four layers between an embedding (or dense) input and a tied, pooled or plain output."""
    rng = np.random.default_rng(seed)
    chosen = [LAYERS[i] for i in rng.integers(0, len(LAYERS), rng.integers(1, 5))]
    shared = len(chosen) > 1 and rng.random() < 0.3  # the last layer is the first one again
    acts = [ACTIVATIONS[i] for i in rng.integers(0, len(ACTIVATIONS), len(chosen))]
    tokens, head = rng.random() < 0.5, rng.integers(0, 3)
    shapes = {f"{i}_{layer.__name__}": shape for i, (layer, shape) in enumerate(chosen)}
    shapes |= {"in": (VOCABULARY, WIDTH), "out": (WIDTH, VOCABULARY)}

    def loss_fn(p, x, key):
        x = p["in"][x] if tokens else jnp.tanh(x @ p["in"])
        order = [*range(len(chosen)), *([0] if shared else [])]
        for i in order:
            layer = chosen[i][0]
            x = layer(p[f"{i}_{layer.__name__}"], x, acts[i])
        if head == 0:
            return score(x @ p["in"].T)
        if head == 1:
            return cross_entropy(x.mean(0) @ p["out"], jnp.int32(1))
        return score(jnp.tanh(x @ p["out"]))

    def make(key, dtype):
        units = whole(0, VOCABULARY, TIME) if tokens else real(TIME, VOCABULARY)
        return draw_params(key, shapes, dtype), relaxed(loss_fn), lambda key, n, dtype: draw_units(key, units, n, dtype)

    return Entry(f"composed_{seed}", make)
