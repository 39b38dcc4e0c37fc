"""Structure around the layers: scans over layers, checkpoints, branches, loops, custom rules, transforms inside."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from tests.zoo.core import cross_entropy, entry, real, score, whole
from tests.zoo.layers import BLOCK, LSTM, layer_norm, lstm_cell, transformer_block

STACK = {"w": (3, 4, 4), "b": (3, 4)}
"""Three dense layers of width 4."""


def dense(layer, x):
    return jnp.tanh(x @ layer["w"] + layer["b"])


# --- Scan over stacked layers ---------------------------------------------------------------------------------------


@entry({"layers": STACK, "out": (4, 3)}, (real(4), whole(0, 3)))
def scan_layers(p, example, key):
    x, y = example
    x, _ = lax.scan(lambda x, layer: (dense(layer, x), None), x, p["layers"])
    return cross_entropy(x @ p["out"], y)


@entry({"layers": STACK, "norm": (4,), "mix": (4, 4)}, real(5, 4))
def scan_layers_with_shared_weights(p, x, key):
    def step(x, layer):
        x = layer_norm(x, p["norm"]) @ p["mix"]
        return x + dense(layer, x), x.mean()

    x, means = lax.scan(step, x, p["layers"], reverse=True)
    return score(layer_norm(x, p["norm"])) + score(means)


@entry(STACK, real(4), tolerance=0.03)
def scan_layers_cast_outside(p, x, key):
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), p)
    x, _ = lax.scan(lambda x, layer: (dense(layer, x), None), x.astype(jnp.bfloat16), half)
    return score(x.astype(jnp.float32))


@entry(STACK, real(4))
def scan_layers_transformed_outside(p, x, key):
    stacked = {"w": jnp.swapaxes(p["w"], 1, 2) * 0.5, "b": p["b"][::-1]}
    x, _ = lax.scan(lambda x, layer: (dense(layer, x), None), x, stacked, unroll=2)
    return score(x)


@entry(STACK, real(4))
def scan_layers_by_index(p, x, key):
    def step(x, i):
        return dense(jax.tree.map(lambda leaf: leaf[i], p), x), None

    return score(lax.scan(step, x, jnp.arange(3))[0])


@entry(STACK, real(4))
def scan_with_weights_in_the_carry(p, x, key):
    first = jax.tree.map(lambda leaf: leaf[0], p)

    def step(carry, layer):
        x, weights = carry
        return (dense(weights, x), jax.tree.map(lambda a, b: 0.5 * a + b, weights, layer)), None

    (x, weights), _ = lax.scan(step, (x, first), p)
    return score(x) + score(weights["b"])


@entry({"w": (4, 4), "b": (4,)}, real(5, 4))
def scan_with_constant_weights_in_the_carry(p, xs, key):
    (h, _), _ = lax.scan(lambda c, x: ((dense(c[1], c[0] + x), c[1]), None), (jnp.zeros(4, xs.dtype), p), xs)
    return score(h)


@entry(
    {"cells": jax.tree.map(lambda s: (2, *s), LSTM, is_leaf=lambda s: isinstance(s, tuple)), "up": (2, 3, 2)},
    real(4, 2),
)
def scan_nested_layers_over_time(p, xs, key):
    zero = jnp.zeros(3, xs.dtype)

    def layer(xs, weights):
        cell, up = weights
        return lax.scan(lambda carry, x: lstm_cell(cell, carry, x), (zero, zero), xs)[1] @ up, None

    return score(lax.scan(layer, xs, (p["cells"], p["up"]))[0])


@entry({"layers": STACK, "out": (4, 2)}, real(5, 4))
def scan_nested_time_over_layers(p, xs, key):
    def step(h, x):
        h, _ = lax.scan(lambda h, layer: (dense(layer, h), None), h + x, p["layers"])
        return h, h @ p["out"]

    return score(lax.scan(step, jnp.zeros(4, xs.dtype), xs)[1])


@entry({"outer": {"w": (2, 2, 4, 4), "b": (2, 2, 4)}}, real(4))
def scan_of_scan_over_layers(p, x, key):
    def inner(x, layer):
        return dense(layer, x), None

    return score(lax.scan(lambda x, group: (lax.scan(inner, x, group)[0], None), x, p["outer"])[0])


@entry({"w": (3, 2), "b": (3, 2)}, real(4, 3))
def scan_map_chunks(p, x, key):
    return score(lax.map(lambda row: row @ p["w"], x)) + score(lax.map(lambda b: x[:2, 0] * b, p["b"]))


# --- Checkpoint -----------------------------------------------------------------------------------------------------

_blocks = jax.tree.map(lambda s: (2, *s), BLOCK, is_leaf=lambda s: isinstance(s, tuple))
_policy = jax.checkpoint_policies.dots_with_no_batch_dims_saveable


@entry({"embed": (5, 4), "blocks": _blocks}, whole(0, 5, 4))
def checkpoint_scan_transformer(p, ids, key):
    block = jax.checkpoint(transformer_block, policy=_policy)
    x, _ = lax.scan(lambda x, layer: (block(layer, x), None), p["embed"][ids], p["blocks"])
    return cross_entropy((x @ p["embed"].T)[:-1], ids[1:])


@entry({"a": {"w": (4, 4), "b": (4,)}, "b": {"w": (4, 4), "b": (4,)}}, real(5, 4))
def checkpoint_layer(p, x, key):
    x = jax.checkpoint(dense)(p["a"], x)
    return score(jax.checkpoint(lambda x: dense(p["b"], dense(p["a"], x)))(x))


@entry({"w": (3, 4, 4), "key_scale": (4,)}, real(4))
def checkpoint_scan_with_dropout(p, x, key):
    @jax.checkpoint
    def step(x, layer):
        w, key = layer
        keep = jax.random.uniform(key, x.shape, jnp.float32) < 0.7
        return jnp.where(keep, jnp.tanh(x @ w) * p["key_scale"], x), None

    return score(lax.scan(step, x, (p["w"], jax.random.split(key, 3)))[0])


# --- Calls, branches, loops -----------------------------------------------------------------------------------------


@entry({"a": {"w": (4, 4), "b": (4,)}, "b": {"w": (4, 4), "b": (4,)}}, real(4))
def jit_inside(p, x, key):
    once = jax.jit(dense)
    twice = jax.jit(lambda p, x: once(p["b"], once(p["a"], x)))
    return score(twice(p, x) + once(p["a"], x))


@entry({"a": (4, 3), "b": (3, 4), "c": (3,)}, (real(4), whole(0, 2)))
def cond_with_parameters_in_both_branches(p, example, key):
    x, y = example
    out = lax.cond(y == 0, lambda: x @ p["a"], lambda: jnp.tanh(p["b"] @ x) + p["c"])
    return score(out) + score(lax.cond(x[0] > 0, lambda c: c * c, lambda c: x[:3] - c, p["c"]))


@entry({"w": (3, 4, 2), "b": (2,)}, (real(4), whole(-1, 4)))
def switch_between_experts(p, example, key):
    x, i = example
    return score(lax.switch(i, [lambda x, k=k: jnp.tanh(x @ p["w"][k]) for k in range(3)], x) + p["b"])


@entry({"w": (4, 4), "b": (4,)}, real(4))
def fori_loop_with_parameters(p, x, key):
    return score(lax.fori_loop(0, 3, lambda i, x: dense(p, x) * (1 + i.astype(x.dtype)), x))


@entry({"w": (4, 4)}, real(4))
def while_loop_beside_the_gradient(p, x, key):
    steps = lax.while_loop(lambda s: s[0] < 5, lambda s: (s[0] + jnp.abs(s[1]), s[1] + 1), (jnp.abs(x[0]), x[1]))
    scale = lax.while_loop(lambda w: jnp.sum(w * w) > 1, lambda w: w / 2, lax.stop_gradient(p["w"]))
    return score(x @ p["w"] + lax.stop_gradient(steps[1])) + jnp.sum(scale) * jnp.sum(p["w"][0] * x)


@entry({"w": (4, 4)}, real(4))
def while_loop_fixed_point(p, x, key):
    """A deep equilibrium layer by hand: a loop inside a custom rule, the implicit function theorem outside."""

    @jax.custom_vjp
    def solve(w, x):
        return lax.fori_loop(0, 20, lambda i, z: jnp.tanh(0.3 * z @ w + x), jnp.zeros_like(x))

    def forward(w, x):
        z = solve(w, x)
        return z, (w, x, z)

    def backward(saved, g):
        w, x, z = saved
        _, pull = jax.vjp(lambda w, x, z: jnp.tanh(0.3 * z @ w + x), w, x, z)
        u = lax.fori_loop(0, 20, lambda i, u: g + pull(u)[2], g)
        return pull(u)[:2]

    solve.defvjp(forward, backward)
    return score(solve(p["w"], x))


# --- Custom rules: an engine that differentiates through them is wrong ----------------------------------------------


@jax.custom_vjp
def scaled_dense(w, x):
    return x @ w


def _scaled_backward(saved, g):
    w, x = saved
    # Neither factor is the true derivative.
    return 3.0 * jnp.outer(x, jnp.clip(g, -0.5, 0.5)), -(g @ w.T)


scaled_dense.defvjp(lambda w, x: (x @ w, (w, x)), _scaled_backward)


@entry({"w1": (4, 4), "w2": (4, 3)}, real(4))
def custom_vjp_with_a_parameter(p, x, key):
    return score(scaled_dense(p["w2"], jnp.tanh(scaled_dense(p["w1"], x))))


@jax.custom_vjp
def reverse_gradient(x):
    return x


reverse_gradient.defvjp(lambda x: (x, None), lambda _, g: (-2.0 * g,))


@entry({"w1": (4, 3), "w2": (3, 2), "b": (2,)}, real(4))
def custom_vjp_on_activations_and_on_a_weight(p, x, key):
    return score(reverse_gradient(jnp.tanh(x @ p["w1"])) @ reverse_gradient(p["w2"]) + reverse_gradient(p["b"]))


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def swish(x, beta, power):
    return x * jax.nn.sigmoid(beta * x) ** power


@swish.defjvp
def _swish_jvp(power, primals, tangents):
    (x, beta), (dx, dbeta) = primals, tangents
    return swish(x, beta, power), 0.5 * jax.nn.sigmoid(x) * dx + jnp.sum(x) * dbeta * jnp.ones_like(x)


@entry({"w": (4, 3), "beta": ()}, real(4))
def custom_jvp_with_a_parameter(p, x, key):
    return score(swish(x @ p["w"], p["beta"], 2))


@entry({"layers": STACK}, real(4))
def custom_vjp_inside_scan(p, x, key):
    def step(x, layer):
        return jnp.tanh(reverse_gradient(scaled_dense(layer["w"], x)) + reverse_gradient(layer["b"])), None

    return score(lax.scan(step, x, p["layers"])[0])


# --- Transforms inside the loss -------------------------------------------------------------------------------------


@entry({"w": (3, 4, 2), "b": (2,)}, real(4))
def vmap_over_an_ensemble(p, x, key):
    return score(jax.vmap(lambda w: jnp.tanh(x @ w + p["b"]))(p["w"]))


@entry({"w": (2, 4), "u": (4, 3)}, real(5, 4))
def vmap_over_positions(p, x, key):
    return score(jax.vmap(lambda row, i: jnp.tanh(p["w"] @ row) * p["u"][i, 0], (0, 0))(x, jnp.arange(5) % 4))


@entry({"w1": (4, 3), "b1": (3,), "w2": (3,)}, real(4))
def gradient_penalty(p, x, key):
    def critic(x):
        return jnp.tanh(x @ p["w1"] + p["b1"]) @ p["w2"]

    value, slope = jax.value_and_grad(critic)(x)
    return jnp.sin(value) + (jnp.linalg.norm(slope) - 1) ** 2


@entry({"w": (4, 3)}, real(4))
def adapts_before_it_predicts(p, x, key):
    inner = jax.grad(lambda w: score(jnp.tanh(x @ w)))(p["w"])
    return score(jnp.tanh(x[::-1] @ (p["w"] - 0.1 * inner)))


@entry({"w": (3, 2), "b": (2,)}, real(3))
def jacobian_forward_and_hessian(p, x, key):
    out, tangent = jax.jvp(lambda x: jnp.tanh(x @ p["w"] + p["b"]), (x,), (jnp.ones_like(x),))
    return score(out * tangent) + jnp.trace(jax.hessian(lambda x: score(jnp.tanh(x @ p["w"])))(x))
