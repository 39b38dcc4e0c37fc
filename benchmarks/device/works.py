"""What is trained on the device: ``step_time``'s works, and larger ones with random weights at bfloat16."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import DTypeLike, PyTree

from benchmarks.device.memory import DoesNotFit, device_bytes, gibibytes
from benchmarks.step_time import catalogue
from benchmarks.step_time.minilm import CLASSES, MINILM, TEXTS, TOKENS
from benchmarks.step_time.works import LossFn, Work
from dpjax.models import objectives
from dpjax.models.adapters import from_nnx
from dpjax.models.layer_stacks import flat_paths
from dpjax.models.model import cross_entropy_loss
from dpjax.models.resnet import wide_resnet
from dpjax.models.transformers import Added, Architecture, Head, Plan, Transformer, tiny
from dpjax.models.tuning import Tuned, fine_tune
from dpjax.models.tuning_methods import Method

LEAST_COPIES = 3
"""Parameters, gradient and noise: a work whose weights don't fit so many times isn't begun."""


def llama(width: int, layers: int, heads: int, kv_heads: int, hidden: int, vocabulary: int) -> Architecture:
    """Llama's architecture with a tied head, which the models of these sizes have."""
    return replace(
        tiny("llama"),
        vocab_size=vocabulary,
        width=width,
        num_layers=layers,
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_width=width // heads,
        hidden_width=hidden,
        max_length=2048,
        tied=True,
    )


LLAMAS = {
    "135m": llama(576, 30, 9, 3, 1_536, 49_152),
    "360m": llama(960, 32, 15, 5, 2_560, 49_152),
    "1.5b": llama(1_536, 28, 12, 2, 8_960, 151_936),
}
"""Shapes in use: SmolLM2's smaller two, and that of Qwen2.5 1.5B without biases."""


def language_model(name: str, arch: Architecture, method: str, texts: int, tokens: int) -> Work:
    """The next token, all weights or adapters trained; equal layers are one loop, as that compiles in seconds."""
    tuned = _fresh(arch, Head("causal"), method)
    ids = jax.random.randint(jax.random.key(8), (texts, tokens), 0, arch.vocab_size)
    return _work(name, tuned, objectives.causal, (ids, jnp.zeros(texts, jnp.int32)))


def classifier(name: str, arch: Architecture, texts: int, tokens: int) -> Work:
    """Texts of two classes, all weights trained."""
    ids = jax.random.randint(jax.random.key(8), (texts, tokens), 0, arch.vocab_size)
    labels = jax.random.randint(jax.random.key(9), (texts,), 0, CLASSES)
    return _work(name, _fresh(arch, Head("classify", CLASSES), "full"), objectives.classification, (ids, labels))


def resnet(pixels: int = 32, width: int = 4, depth: int = 16, batch: int = 128) -> Work:
    """The network that private CIFAR-10 is compared on."""
    model = wide_resnet(10, (pixels, pixels, 3), width=width, depth=depth)
    scored = cross_entropy_loss(model)
    images = jax.random.normal(jax.random.key(1), (batch, pixels, pixels, 3))
    labels = jax.random.randint(jax.random.key(2), (batch,), 0, 10)
    losses: dict[str, LossFn] = {"plain": lambda params, example, key: scored(params, example, None)[0]}
    return Work("resnet", jax.jit(model.init)(jax.random.key(0)), losses, (images, labels), (batch,))


def _fresh(arch: Architecture, head: Head, method: str) -> Tuned:
    """A model split for fine-tuning whose weights are all zero, and take no memory before they are drawn."""
    body = from_nnx(lambda rngs: Transformer(arch, Head(), Added(), Plan(), rngs=rngs))
    shapes = flat_paths(jax.eval_shape(body.init, jax.random.key(0)))
    needed = LEAST_COPIES * sum(2.0 * math.prod(leaf.shape) for leaf in shapes.values())
    if needed > device_bytes():
        raise DoesNotFit(f"its weights need {gibibytes(needed)}, and {gibibytes(device_bytes())} are there.")
    zeros = {path: np.broadcast_to(np.zeros((), jnp.bfloat16), leaf.shape) for path, leaf in shapes.items()}
    return fine_tune(arch, zeros, head, Method(method), plan=Plan(dtype=jnp.bfloat16), scan_layers=True)


def _work(name: str, tuned: Tuned, score: Callable[..., Any], units: PyTree) -> Work:
    start = jax.eval_shape(tuned.init, tuned.start, jax.random.key(0))

    def losses(frozen: PyTree) -> dict[str, LossFn]:
        scored = objectives.mean_loss(score(tuned.applying(frozen)))
        return {"plain": lambda params, example, key: scored(params, example, key)[0]}

    frozen = drawn(tuned.frozen, 1)
    batch = jax.tree.leaves(units)[0].shape[0]
    return Work(name, drawn(start, 0), losses(frozen), units, (batch,), frozen, losses)


def drawn(shapes: PyTree, seed: int, dtype: DTypeLike = jnp.bfloat16) -> PyTree:
    """Small random weights, made on the device; scales of norms are one."""
    keys = iter(jax.random.split(jax.random.key(seed), 1 + len(jax.tree.leaves(shapes))))
    draw = jax.jit(lambda key, shape: (0.02 * jax.random.normal(key, shape)).astype(dtype), static_argnums=1)

    def leaf(path: jax.tree_util.KeyPath, like: Any) -> jax.Array:
        scale = "scale" in jax.tree_util.keystr(path)
        return jnp.ones(like.shape, dtype) if scale else draw(next(keys), tuple(like.shape))

    return jax.tree_util.tree_map_with_path(leaf, shapes)


WORKS: dict[str, Callable[[], Work]] = {
    **{name: catalogue.WORKS[name] for name in ("mlp", "cnn", "minilm_full")},
    "minilm_bf16": lambda: classifier("minilm_bf16", MINILM, TEXTS, TOKENS),
    "resnet": resnet,
    "llama_135m": lambda: language_model("llama_135m", LLAMAS["135m"], "full", 16, 256),
    "llama_360m": lambda: language_model("llama_360m", LLAMAS["360m"], "full", 16, 256),
    "llama_1.5b": lambda: language_model("llama_1.5b", LLAMAS["1.5b"], "full", 8, 256),
    "llama_1.5b_lora": lambda: language_model("llama_1.5b_lora", LLAMAS["1.5b"], "lora", 8, 256),
}
TINY: dict[str, Callable[[], Work]] = {
    **{name: lambda name=name: _first(catalogue.WORKS[name](), 8) for name in ("mlp", "cnn")},
    "minilm_full": lambda: classifier("minilm_full", tiny("bert"), 4, 8),
    "resnet": lambda: resnet(pixels=8, width=1, depth=10, batch=4),
    "llama_135m": lambda: language_model("llama_135m", tiny("llama"), "full", 4, 8),
    "llama_1.5b_lora": lambda: language_model("llama_1.5b_lora", tiny("llama"), "lora", 4, 8),
}
"""The same works in shapes that any processor compiles in a second."""


def _first(work: Work, batch: int) -> Work:
    return work._replace(units=jax.tree.map(lambda x: x[:batch], work.units), microbatches=(batch,))
