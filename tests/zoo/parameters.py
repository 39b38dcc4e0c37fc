"""Every way in which a parameter meets data: products, biases, scales, tables, and functions of the weight itself."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from tests.zoo.core import cross_entropy, entry, real, score, whole

# --- Dense layers ---------------------------------------------------------------------------------------------------


@entry({"w": (4, 3), "b": (3,)}, (real(4), whole(0, 3)))
def logistic(p, example, key):
    x, y = example
    return cross_entropy(x @ p["w"] + p["b"], y)


for _name, _act in {"relu": jax.nn.relu, "gelu": jax.nn.gelu, "tanh": jnp.tanh, "softplus": jax.nn.softplus}.items():

    @entry({"w1": (4, 5), "b1": (5,), "w2": (5, 3), "b2": (3,)}, (real(4), whole(0, 3)), name=f"mlp_{_name}")
    def mlp(p, example, key, act=_act):
        x, y = example
        return cross_entropy(act(x @ p["w1"] + p["b1"]) @ p["w2"] + p["b2"], y)


@entry((3, 4), real(4))
def matrix_vector(w, x, key):
    return score(jnp.tanh(w @ x))


@entry((4, 3), real(4, 5))
def weight_transposed_on_the_left(w, x, key):
    return score(w.T @ x)


@entry((4, 3), real(5, 4))
def dense_over_positions(w, x, key):
    return score(jnp.tanh(x @ w))


@entry((3, 2, 4), real(5, 4))
def einsum_scrambled_output(w, x, key):
    return score(jnp.einsum("ti,ohi->hto", x, w))


@entry((2, 3, 4), real(2, 5, 3))
def einsum_experts(w, x, key):
    return score(jnp.einsum("etc,ecf->etf", x, w))


@entry((3, 2, 4), real(5, 2, 3))
def einsum_experts_inner_batch(w, x, key):
    return score(jnp.einsum("tec,cef->tfe", x, w))


@entry((2, 3, 4), real(5, 2, 3))
def einsum_heads_to_model(w, x, key):
    return score(jnp.einsum("thd,hdo->to", x, w))


@entry((4, 3), real(4, 5, 3))
def einsum_contracts_all_of_the_weight(w, x, key):
    return score(jnp.einsum("itj,ij->t", x, w))


@entry((4, 4), real(4, 5))
def einsum_elementwise_and_trace(w, x, key):
    return score(jnp.einsum("ij,it->jt", w, x)) + jnp.einsum("ii->", w) * jnp.sum(x)


@entry((4,), real(5, 4))
def vector_dot(w, x, key):
    return score(x @ w) + jnp.sin(jnp.vdot(w, x[0]))


@entry({"u": (4,), "v": (3,)}, real(4, 3))
def outer_products(p, x, key):
    return score(jnp.outer(p["u"], x[0]) + jnp.outer(x[:, 0], p["v"]))


@entry((2, 3, 4, 2), real(5, 6, 4))
def dense_general_two_outputs(w, x, key):
    return score(lax.dot_general(w, x, (((2,), (2,)), ((), ()))))


@entry({"w": (4, 3)}, real(5, 4))
def dense_three_fold_precision(p, x, key):
    return score(lax.dot(x, p["w"], precision=lax.Precision.HIGHEST, preferred_element_type=x.dtype))


@entry((4, 3), real(4))
def weight_is_flattened(w, x, key):
    return score(x @ w.reshape(-1)[::-1].reshape(3, 4).T)


# --- Biases, scales, scalars ----------------------------------------------------------------------------------------


@entry({"w": (4, 6), "a": (6,), "b": (2, 3)}, real(4))
def bias_before_and_after_reshape(p, x, key):
    return score((x @ p["w"] + p["a"]).reshape(2, 3) + p["b"])


@entry({"column": (3,), "row": (5, 1), "all": (), "lead": (2, 1, 3)}, real(2, 5, 3))
def bias_broadcasts(p, x, key):
    return score(jnp.tanh(x + p["column"] - p["row"] + p["all"]) + p["lead"])


@entry({"b": (3,)}, real(4, 3))
def bias_subtracts_data(p, x, key):
    return score(p["b"] - x) + score(x - p["b"])


@entry({"scale": (3,), "gain": (3,), "time": (5, 1), "sign": (3,)}, real(5, 3))
def scales(p, x, key):
    return score(jnp.tanh(x * p["scale"]) * (1 + p["gain"]) * p["time"] * -p["sign"])


@entry({"a": (3,), "b": (3,)}, real(5, 3))
def divides(p, x, key):
    return score(x / (2 + jnp.abs(p["a"]))) + score(p["b"] / (2 + jnp.abs(x)))


@entry({"temperature": (), "power": (), "base": (), "log_scale": ()}, (real(4), whole(0, 4)))
def scalars(p, example, key):
    x, y = example
    loss = cross_entropy(x * p["temperature"], y) + score((1 + jnp.abs(x)) ** p["power"])
    return loss + score((1 + jnp.abs(p["base"])) ** x) + score(jnp.exp(p["log_scale"]) * x)


@entry((3,), real(5, 3))
def prelu(a, x, key):
    return score(jnp.where(x > 0, x, a * x))


@entry({"a": (3,), "b": (), "c": (3,)}, real(5, 3))
def maximum_and_clip(p, x, key):
    return score(jnp.maximum(x, p["a"])) + score(jnp.minimum(x, p["b"])) + score(jnp.clip(x, -jnp.abs(p["c"]), 1.0))


@entry({"a": (3,), "b": (3,)}, real(5, 3))
def data_selects_parameters(p, x, key):
    return score(jnp.where(x > 0, p["a"], p["b"])) + score(jnp.where(p["a"] > 0, x, p["b"]))


# --- Used more than once --------------------------------------------------------------------------------------------


@entry({"embed": (6, 3), "w": (3, 3)}, whole(0, 6, 5))
def tied_embedding(p, ids, key):
    hidden = jnp.tanh(p["embed"][ids] @ p["w"])
    return cross_entropy(hidden[:-1] @ p["embed"].T, ids[1:])


@entry({"w": (3, 3), "b": (3,)}, real(3))
def dense_twice(p, x, key):
    return score(jnp.tanh(jnp.tanh(x @ p["w"] + p["b"]) @ p["w"] + p["b"]))


@entry((4, 3), real(5, 4))
def autoencoder_with_transpose(w, x, key):
    return score(jnp.tanh(x @ w) @ w.T - x)


@entry({"w": (3, 3), "u": (2, 3)}, real(4, 2))
def rnn_unrolled(p, xs, key):
    h = jnp.zeros(3, xs.dtype)
    for x in xs:
        h = jnp.tanh(h @ p["w"] + x @ p["u"])
    return score(h)


@entry({"w": (4, 4), "b": (4,)}, real(4))
def parts_of_one_weight(p, x, key):
    return score(jnp.tanh(x @ p["w"][:, :2]) @ p["w"][:2, 1:].T.T) + score((x + p["b"]) * p["b"])


@entry({"w": (3, 3)}, (real(4, 3), real(2, 3)))
def siamese(p, example, key):
    left, right = example
    return score(jnp.tanh(left @ p["w"]) @ jnp.tanh(right @ p["w"]).T)


@entry({"w": (3, 3)}, real(3))
def product_with_itself(p, x, key):
    return score(x @ (p["w"] @ p["w"])) + score(p["w"] * p["w"]) * jnp.sum(x)


# --- Tables ---------------------------------------------------------------------------------------------------------


@entry({"embed": (4, 3), "w": (3, 2)}, whole(0, 4, 6))
def embedding_repeated_ids(p, ids, key):
    return score(jnp.tanh(p["embed"][ids] @ p["w"]))


@entry((4, 3), whole(-6, 8, 2, 4))
def embedding_ids_beyond_the_table(table, ids, key):
    filled = jnp.take(table, ids, axis=0, mode="fill", fill_value=0)
    return score(filled) + score(table[ids]) + score(table.at[ids].get(mode="clip"))


@entry({"rows": (4, 3), "columns": (3, 4)}, whole(0, 4, 5))
def embedding_along_columns(p, ids, key):
    return score(jnp.take(p["columns"], ids, axis=1)) + score(p["rows"][ids, jnp.array([0, 2, 1, 1, 0])])


@entry((5, 3), (whole(-5, 5), whole(0, 3), real(3)))
def embedding_scalar_id(table, example, key):
    i, start, x = example
    window = lax.dynamic_slice_in_dim(table, start, 3)
    return score(table[i] * x) + score(window @ x) + score(lax.dynamic_index_in_dim(table, start, keepdims=False))


@entry((5, 3), (whole(0, 5, 4), whole(0, 5, 2, 2)))
def embedding_two_lookups(table, example, key):
    left, right = example
    return score(jnp.sum(table[left], 0)) + score(jnp.tanh(table[right]))


@entry({"embed": (5, 3), "w": (3, 2)}, whole(-1, 6, 4))
def embedding_one_hot(p, ids, key):
    return score(jax.nn.one_hot(ids, 5, dtype=p["embed"].dtype) @ p["embed"] @ p["w"])


@entry({"pos": (6, 3), "cls": (1, 3), "w": (3, 2)}, real(4, 3))
def positions_and_class_token(p, x, key):
    x = jnp.concatenate([p["cls"], x + p["pos"][:4]]) + p["pos"][1:6]
    return score(jnp.tanh(x @ p["w"])[:2])


@entry({"w": (3, 4, 2), "b": (3, 2)}, (real(4), whole(0, 3)))
def expert_by_index(p, example, key):
    x, i = example
    return score(jnp.tanh(x @ p["w"][i] + p["b"][i]))


@entry({"gate": (4, 3), "w": (3, 4, 2)}, real(5, 4))
def experts_top_k(p, x, key):
    weights, chosen = lax.top_k(jax.nn.softmax(x @ p["gate"]), 2)
    return score(jnp.einsum("tk,ti,tkio->to", weights, x, p["w"][chosen]))


@entry((3,), whole(0, 6, 3))
def parameter_is_scattered(w, ids, key):
    return score(jnp.zeros(6, w.dtype).at[ids].add(w)) + score(jnp.ones(6, w.dtype).at[ids[0]].set(w[1]))


@entry((4, 3), real(3))
def vector_quantisation(codes, x, key):
    nearest = codes[jnp.argmin(jnp.sum((codes - x) ** 2, axis=1))]
    straight = x + lax.stop_gradient(nearest - x)
    return score(straight) + score(lax.stop_gradient(x) - nearest)


# --- Functions of the weight ----------------------------------------------------------------------------------------

FROZEN = jnp.linspace(-1, 1, 12).reshape(4, 3).astype(jnp.float32)


@entry({"a": (4, 2), "b": (2, 3)}, real(5, 4))
def lora(p, x, key):
    return score(jnp.tanh(x @ FROZEN.astype(x.dtype) + 0.5 * (x @ p["a"]) @ p["b"]))


@entry({"a": (4, 2), "b": (2, 3)}, real(5, 4))
def lora_merged(p, x, key):
    return score(jnp.tanh(x @ (FROZEN.astype(x.dtype) + p["a"] @ p["b"])))


@entry({"a": (4,), "b": (3,)}, real(5, 4))
def rank_one_weight(p, x, key):
    return score(jnp.tanh(x @ (p["a"][:, None] * p["b"][None, :])))


@entry({"v": (4, 3), "g": (3,)}, real(4))
def weight_norm(p, x, key):
    return score(x @ (p["g"] * p["v"] / jnp.linalg.norm(p["v"], axis=0)))


@entry((4, 3), real(5, 4))
def softmax_of_weight(w, x, key):
    return score(x @ jax.nn.softmax(w, axis=0) + jnp.cumsum(w, axis=1)[0])


@entry((4, 6), real(5, 4))
def fused_projection(w, x, key):
    q, k, v = x @ w[:, :2], x @ w[:, 2:4], x @ w[:, 4:]
    a, b, c = jnp.split(jnp.tanh(x @ w), 3, axis=-1)
    return score(jax.nn.softmax(q @ k.T) @ v) + score(a * b + c)


@entry({"i": (3, 2), "f": (3, 2), "bias": (2,)}, real(5, 3))
def concatenated_kernels(p, x, key):
    kernel = jnp.concatenate([p["i"], p["f"]], axis=1)
    return score(jnp.tanh(x @ kernel + jnp.tile(p["bias"], 2)) @ jnp.stack([p["i"][0], p["f"][0]], 1).repeat(2, 0))


@entry({"w": (2, 3), "b": (3,)}, real(5, 4))
def padded_and_rolled(p, x, key):
    return score(
        x @ jnp.pad(p["w"], ((1, 1), (0, 0))) + jnp.roll(p["b"], 1) + jnp.flip(p["b"])[..., jnp.array([0, 0, 2])]
    )


@entry((3, 3), real(3))
def triangular_inverse_and_solve(w, x, key):
    square = jnp.tril(w) + 3 * jnp.eye(3, dtype=w.dtype)
    return score(jnp.linalg.solve(square, x)) + jnp.linalg.slogdet(square)[1] * x[0]


@entry((4,), real(4))
def fourier_filter(w, x, key):
    return score(jnp.fft.irfft(jnp.fft.rfft(x) * jnp.fft.rfft(w), 4))


@entry((4, 3), real(5, 4))
def rounded_weight_straight_through(w, x, key):
    return score(x @ (w + lax.stop_gradient(jnp.round(2 * w) / 2 - w)))


@entry((4, 3), real(5, 4))
def sign_and_sort(w, x, key):
    out = x @ w
    return score(jnp.sort(out, axis=0)) + score(lax.top_k(out[:, 0], 2)[0]) + score(jnp.abs(jnp.sort(w[0])) * x[0, 0])


# --- Randomness, precision, containers ------------------------------------------------------------------------------


@entry({"w1": (4, 5), "w2": (5, 3)}, real(4))
def dropout(p, x, key):
    hidden = jnp.tanh(x @ p["w1"])
    return score(jnp.where(jax.random.uniform(key, (5,), jnp.float32) < 0.6, hidden / 0.6, 0) @ p["w2"])


@entry({"w1": (4, 5), "w2": (5, 3)}, real(4))
def drop_connect(p, x, key):
    key1, key2 = jax.random.split(key)
    hidden = jnp.tanh(x @ jnp.where(jax.random.uniform(key1, (4, 5), jnp.float32) < 0.5, p["w1"], 0))
    return score(hidden @ (p["w2"] + 0.1 * jax.random.normal(key2, (5, 3), jnp.float32).astype(x.dtype)))


@entry({"embed": (5, 4), "w1": (4, 5), "b1": (5,), "w2": (5, 3)}, whole(0, 5, 6), tolerance=0.03)
def mixed_precision(p, ids, key):
    p = jax.tree.map(lambda x: x.astype(jnp.bfloat16), p)
    hidden = jnp.tanh(p["embed"][ids] @ p["w1"] + p["b1"])
    return score((hidden @ p["w2"]).astype(jnp.float32))


class Layer(NamedTuple):
    kernel: tuple
    bias: tuple


@entry({"body": [Layer((4, 3), (3,)), Layer((3, 3), (3,))], "none": None, "head": {"out": ((3, 2),)}}, {"x": real(4)})
def nested_containers(p, example, key):
    x = example["x"]
    for layer in p["body"]:
        x = jnp.tanh(x @ layer.kernel + layer.bias)
    return score(x @ p["head"]["out"][0])


@entry({"w": (4, 3)}, (real(4), whole(0, 3)))
def metrics_of_many_types(p, example, key):
    x, y = example
    logits = x @ p["w"]
    correct = jnp.where(jnp.argmax(logits).astype(jnp.int32) == y, jnp.int32(1), jnp.int32(0))
    metrics = {"correct": correct, "weight": jnp.sum(p["w"] ** 2), "logits": logits}
    return cross_entropy(logits, y), metrics


@entry({"w": (4, 3), "unused": (2, 2), "empty": (0, 3), "cut": (3,), "part": (3,)}, real(4))
def parameters_that_do_not_enter(p, x, key):
    frozen = jnp.concatenate([lax.stop_gradient(p["part"][:1]), p["part"][1:]])
    return score((x @ p["w"] + jnp.sum(p["empty"], 0)) * lax.stop_gradient(p["cut"]) + frozen)


@entry({"w": (4, 3)}, real(4))
def loss_without_parameters(p, x, key):
    return score(x)


@entry({"w": (4, 3), "only": (3, 2), "group": (4, 2)}, real(4))
def regularised(p, x, key):
    penalty = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(p)) + jnp.sum(jnp.sqrt(1 + jnp.sum(p["group"] ** 2, 1)))
    return score(x @ p["w"]) + 0.1 * penalty
