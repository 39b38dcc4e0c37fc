"""What is trained: parameters, the loss of one example, a batch, and the microbatches worth trying."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Key, PyTree

from dpjax.models.convolution import im2col_conv, max_pool

LossFn = Callable[[PyTree[Array], PyTree[Array], Key[Array, ""]], Float[Array, ""]]
PIXELS, HIDDEN, CLASSES, BATCH = 784, 128, 10, 256
LAYERS, WIDTH, HEADS, VOCABULARY, SEQUENCE, RANK, SENTENCES = 6, 384, 6, 2048, 128, 8, 32


class Work(NamedTuple):
    """One thing to train.

    Attributes:
      name: of the work, also to the Opacus side.
      params: pytree.
      losses: name → ``loss(params, example, key)``; the first one is the model as a user writes it.
      units: batch of examples.
      microbatches: candidates, largest last; each divides the batch.
      frozen: pytree that is not trained, an argument of the compiled step.
      losses_of: ``losses_of(frozen)`` gives ``losses``; None where nothing is frozen, or it is a constant.
    """

    name: str
    params: PyTree[Array]
    losses: dict[str, LossFn]
    units: PyTree[Array]
    microbatches: tuple[int, ...]
    frozen: PyTree[Array] = ()
    losses_of: Callable[[Any], dict[str, LossFn]] | None = None

    def bound(self, frozen: PyTree[Array]) -> "Work":
        """The same work, its losses on this frozen part."""
        return self if self.losses_of is None else self._replace(losses=self.losses_of(frozen))

    @property
    def loss(self) -> LossFn:
        """The model as a user writes it."""
        return self.losses["plain"]

    @property
    def batch(self) -> int:
        """Examples in one step."""
        return jax.tree.leaves(self.units)[0].shape[0]

    @property
    def parameters(self) -> int:
        """Trainable numbers."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.params))


def _keys(seed: int) -> Callable[[], Key[Array, ""]]:
    keys = iter(jax.random.split(jax.random.key(seed), 256))
    return lambda: next(keys)


def _labelled(*shape: int) -> tuple[Array, Array]:
    key = _keys(0)
    return jax.random.normal(key(), (BATCH, *shape)), jax.random.randint(key(), (BATCH,), 0, CLASSES)


def logistic() -> Work:
    params = {"w": jnp.zeros((PIXELS, CLASSES)), "b": jnp.zeros(CLASSES)}

    def loss(params: Any, example: Any, key: Any) -> Array:
        x, label = example
        return -jax.nn.log_softmax(x @ params["w"] + params["b"])[label]

    return Work("logistic", params, {"plain": loss}, _labelled(PIXELS), (32, 64, 128, 256))


def mlp() -> Work:
    key = _keys(1)
    params = {
        "w1": jax.random.normal(key(), (PIXELS, HIDDEN)) / 28,
        "b1": jnp.zeros(HIDDEN),
        "w2": jax.random.normal(key(), (HIDDEN, CLASSES)) / 11,
        "b2": jnp.zeros(CLASSES),
    }

    def loss(params: Any, example: Any, key: Any) -> Array:
        x, label = example
        logits = jax.nn.relu(x @ params["w1"] + params["b1"]) @ params["w2"] + params["b2"]
        return -jax.nn.log_softmax(logits)[label]

    return Work("mlp", params, {"plain": loss}, _labelled(PIXELS), (8, 16, 32, 64, 128, 256))


def cnn() -> Work:
    key = _keys(2)
    params = {
        "k1": jax.random.normal(key(), (8, 8, 1, 16)) / 8,
        "c1": jnp.zeros(16),
        "k2": jax.random.normal(key(), (4, 4, 16, 32)) / 16,
        "c2": jnp.zeros(32),
        "w1": jax.random.normal(key(), (512, 32)) / 22,
        "b1": jnp.zeros(32),
        "w2": jax.random.normal(key(), (32, CLASSES)) / 6,
        "b2": jnp.zeros(CLASSES),
    }

    def lax_conv(x: Array, kernel: Array, strides: Any, padding: Any) -> Array:
        return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))

    def lax_pool(x: Array) -> Array:
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 1, 1, 1), "VALID")

    def network(conv: Callable[..., Array], pool: Callable[[Array], Array]) -> LossFn:
        def loss(params: Any, example: Any, key: Any) -> Array:
            image, label = example
            x = jax.nn.relu(conv(image[None], params["k1"], (2, 2), ((3, 3), (3, 3))) + params["c1"])
            x = jax.nn.relu(conv(pool(x), params["k2"], (2, 2), "VALID") + params["c2"])
            x = jax.nn.relu(pool(x).reshape(-1) @ params["w1"] + params["b1"])
            return -jax.nn.log_softmax(x @ params["w2"] + params["b2"])[label]

        return loss

    losses = {
        "plain": network(lax_conv, lax_pool),
        "im2col": network(im2col_conv, lambda x: max_pool(x, (2, 2), (1, 1))),
    }
    return Work("cnn", params, losses, _labelled(28, 28, 1), (2, 4, 8, 16, 32, 64, 128, 256))


def transformer() -> Work:
    """Full fine-tuning."""
    base = _language_model()

    def loss(params: Any, tokens: Any, key: Any) -> Array:
        return _next_token_loss(_logits(params, tokens, None), tokens)

    return Work("transformer", base, {"plain": loss}, _sentences(), (2, 4, 8, 16, 32))


def transformer_lora() -> Work:
    """Rank-8 adapters on the four attention projections of a frozen model."""
    base, key = _language_model(), _keys(4)
    adapters = [
        {
            name: {"a": _small(key, WIDTH, RANK), "b": _small(key, RANK, WIDTH)}  # b ≠ 0: no gradient vanishes
            for name in "qkvo"
        }
        for _ in range(LAYERS)
    ]

    def loss(params: Any, tokens: Any, key: Any) -> Array:
        return _next_token_loss(_logits(base, tokens, params), tokens)

    return Work("transformer_lora", adapters, {"plain": loss}, _sentences(), (2, 4, 8, 16, 32))


def _small(key: Callable[[], Key[Array, ""]], *shape: int) -> Array:
    return jax.random.normal(key(), shape) * 0.02


def _sentences() -> Int[Array, "batch sequence"]:
    return jax.random.randint(jax.random.key(5), (SENTENCES, SEQUENCE), 0, VOCABULARY)


def _language_model() -> dict[str, Any]:
    key = _keys(3)

    def norm() -> dict[str, Array]:
        return {"scale": jnp.ones(WIDTH), "bias": jnp.zeros(WIDTH)}

    def dense(rows: int, columns: int) -> dict[str, Array]:
        return {"w": _small(key, rows, columns), "b": jnp.zeros(columns)}

    def layer() -> dict[str, Any]:
        projections = {name: dense(WIDTH, WIDTH) for name in "qkvo"}
        return projections | {
            "norm1": norm(),
            "norm2": norm(),
            "up": dense(WIDTH, 4 * WIDTH),
            "down": dense(4 * WIDTH, WIDTH),
        }

    return {
        "tokens": _small(key, VOCABULARY, WIDTH),
        "positions": _small(key, SEQUENCE, WIDTH),
        "layers": [layer() for _ in range(LAYERS)],
        "norm": norm(),
        "head": _small(key, WIDTH, VOCABULARY),
    }


def _normalize(x: Array, params: Any) -> Array:
    mean = x.mean(-1, keepdims=True)
    variance = jnp.square(x - mean).mean(-1, keepdims=True)
    return (x - mean) * lax.rsqrt(variance + 1e-5) * params["scale"] + params["bias"]


def _logits(model: Any, tokens: Int[Array, "sequence"], adapters: Any) -> Float[Array, "sequence vocabulary"]:
    causal = jnp.tril(jnp.ones((SEQUENCE, SEQUENCE), bool))
    x = model["tokens"][tokens] + model["positions"]
    for i, layer in enumerate(model["layers"]):

        def dense(name: str, h: Array, i: int = i, layer: Any = layer) -> Array:
            y = h @ layer[name]["w"] + layer[name]["b"]
            if adapters is not None and name in adapters[i]:
                y = y + (h @ adapters[i][name]["a"]) @ adapters[i][name]["b"]
            return y

        h = _normalize(x, layer["norm1"])
        q, k, v = (dense(name, h).reshape(SEQUENCE, HEADS, WIDTH // HEADS) for name in "qkv")
        scores = jnp.einsum("shd,thd->hst", q, k) / (WIDTH // HEADS) ** 0.5
        weights = jax.nn.softmax(jnp.where(causal, scores, -1e9))
        x = x + dense("o", jnp.einsum("hst,thd->shd", weights, v).reshape(SEQUENCE, WIDTH))
        x = x + dense("down", jax.nn.gelu(dense("up", _normalize(x, layer["norm2"]))))
    return _normalize(x, model["norm"]) @ model["head"]


def _next_token_loss(logits: Array, tokens: Array) -> Array:
    log_probs = jax.nn.log_softmax(logits[:-1])
    return -jnp.take_along_axis(log_probs, tokens[1:, None], 1).mean()
