"""MiniLM's architecture, as dpjax fine-tunes it: LoRA beside its queries and values, or all of it."""

from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.step_time.works import LossFn, Work
from dpjax.models import objectives
from dpjax.models.transformers import Architecture, Head, Lora
from dpjax.models.tuning import Tuned, fine_tune, fresh_parameters
from dpjax.models.tuning_methods import Method

TEXTS, TOKENS, CLASSES, RANK = 64, 32, 2, 8
MINILM = Architecture(
    family="bert",
    vocab_size=30_522,
    width=384,
    num_layers=6,
    num_heads=12,
    num_kv_heads=12,
    head_width=32,
    hidden_width=1_536,
    max_length=512,
    norm_epsilon=1e-12,
    activation="gelu",
    causal=False,
    residual="post",
    embedding_norm=True,
    learned=True,
    num_segments=2,
)


def minilm(method: str) -> Work:
    """A step of fine-tuning, with random weights of MiniLM's shape: its time does not depend on their values."""
    tuned = _tuned(method)
    key = jax.random.key(7)
    start = jax.jit(tuned.init)(tuned.start, key)
    # An adapter's `b` begins at zero, where half of the gradients vanish.
    leaves, structure = jax.tree.flatten(start)
    drawn = [x + 0.02 * jax.random.normal(jax.random.fold_in(key, i), x.shape) for i, x in enumerate(leaves)]
    ids = jax.random.randint(jax.random.key(8), (TEXTS, TOKENS), 0, MINILM.vocab_size)
    labels = jax.random.randint(jax.random.key(9), (TEXTS,), 0, CLASSES)
    frozen = jax.tree.map(jnp.asarray, tuned.frozen)
    return Work(
        f"minilm_{method}",
        jax.tree.unflatten(structure, drawn),
        _losses(tuned, frozen),
        (ids, labels),
        (4, 8, 16, 32, 64),
        frozen,
        lambda frozen: _losses(tuned, frozen),
    )


def _tuned(method: str) -> Tuned:
    body = fresh_parameters(MINILM, jax.random.key(6))
    return fine_tune(MINILM, body, Head("classify", CLASSES), Method(method, Lora(RANK, 2.0 * RANK)))


def _losses(tuned: Tuned, frozen: Any) -> dict[str, LossFn]:
    scored = objectives.mean_loss(objectives.classification(tuned.applying(frozen)))
    return {"plain": lambda params, example, key: scored(params, example, key)[0]}
