"""Texts from a checkpoint and, if there are any, its adapters; or from what a run has just tuned."""

import os
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from dpjax.checks import seed_number
from dpjax.models.generation import Sampling, make_generate
from dpjax.models.pretrained.adapter_files import load_adapters
from dpjax.models.pretrained.load_and_save import Pretrained
from dpjax.models.pretrained.merging import merge_adapters
from dpjax.models.pretrained.tensor_files import CheckpointError
from dpjax.models.pretrained.tokens import TextTokenizer
from dpjax.models.transformers import Head, SoftPrompt
from dpjax.models.tuning import Tuned, fine_tune
from dpjax.models.tuning_methods import Method


def write(
    body: Pretrained,
    prompts: Sequence[str],
    *,
    num_tokens: int,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    adapter: str | os.PathLike[str] | None = None,
) -> list[str]:
    """What a causal model writes after each prompt.

    Args:
      body: the model.
      prompts: texts to continue, none of them empty.
      num_tokens: most tokens to write.
      temperature, top_p: see ``Sampling``.
      seed: of the draws.
      adapter: folder of adapters that are added to the model.

    Raises:
      CheckpointError: an empty prompt, or adapters of another model.
      ValueError: a model that is not causal, or more tokens than it has positions.
    """
    params = dict(body.params)
    method = Method("full")
    if adapter is not None:
        adapters, kind = load_adapters(adapter, body.arch, base=body)
        params |= adapters
        if isinstance(kind, SoftPrompt):
            method = Method.of(kind)
        else:
            params = merge_adapters(params, kind)
        params = {path: array for path, array in params.items() if not path.startswith("classifier.")}
    tuned = fine_tune(body.arch, params, Head("causal"), method, scan_layers=True)
    return write_tuned(
        tuned,
        tuned.start,
        body.tokenizer,
        prompts,
        num_tokens=num_tokens,
        sampling=Sampling(temperature, top_p),
        seed=seed,
        batch_size=len(prompts),
    )


def write_tuned(
    tuned: Tuned,
    trained: PyTree,
    tokenizer: TextTokenizer,
    prompts: Sequence[str],
    *,
    num_tokens: int,
    sampling: Sampling,
    seed: int = 0,
    batch_size: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> list[str]:
    """What a tuned causal model writes after each prompt: post-processing of its parameters, whatever their ε.

    Args:
      tuned: how it was split.
      trained: the trained half.
      tokenizer: of the checkpoint.
      prompts: texts to continue, none of them empty.
      num_tokens: most tokens to write after each.
      sampling: how tokens are drawn.
      seed: of the draws, from 0 to 2³² − 1.
      batch_size: prompts at once; keys and values of each are in memory.
      progress: told (texts done, texts in all).

    Raises:
      CheckpointError: an empty prompt.
      ValueError: a model that is not causal, or more tokens than it has positions.
    """
    if not prompts or any(not prompt.strip() for prompt in prompts):
        raise CheckpointError("prompt is empty; give the beginning of a text.")
    seed = seed_number("seed", seed)
    longest = max(len(tokenizer.raw.encode(prompt, add_special_tokens=False).ids) for prompt in prompts)
    room = longest + len(tokenizer.opening) + len(tokenizer.closing)
    rows = tokenizer.encode(list(prompts), max(room, 4), ended=False).ids  # a text that is to go on has not ended
    generate = make_generate(tuned.arch, tuned.added, tuned.plan, num_tokens=num_tokens, end=tokenizer.separator)
    everything = tuned.bind(tuned.frozen)(trained)
    written: list[str] = []
    for batch, first in enumerate(range(0, len(rows), batch_size)):
        # The last batch is filled up, so that it needs no program of its own.
        at = np.minimum(np.arange(first, first + batch_size), len(rows) - 1)
        key = jax.random.fold_in(jax.random.key(seed), batch)
        ids = np.asarray(generate(everything, jnp.asarray(rows[at]), sampling, key))
        written += [tokenizer.decode(row) for row in ids[: len(rows) - first]]
        if progress is not None:
            progress(len(written), len(rows))
    return written
