"""Texts from a checkpoint and, if there are any, its adapters."""

import os
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from dpjax.models.generation import Sampling, make_generate
from dpjax.models.pretrained.adapters import load_adapters, merge_adapters
from dpjax.models.pretrained.files import CheckpointError
from dpjax.models.pretrained.loading import Pretrained
from dpjax.models.transformers import Head
from dpjax.models.tuning import Method, fine_tune


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
      adapter: folder of LoRA adapters that are added to the model.

    Raises:
      CheckpointError: an empty prompt, or adapters of another model.
      ValueError: a model that is not causal, or more tokens than it has positions.
    """
    if not prompts or any(not prompt.strip() for prompt in prompts):
        raise CheckpointError("prompt is empty; give the beginning of a text.")
    params = dict(body.params)
    if adapter is not None:
        adapters, lora = load_adapters(adapter, body.arch)
        params = merge_adapters(params | adapters, lora)
        params = {path: array for path, array in params.items() if not path.startswith("classifier.")}
    tuned = fine_tune(body.arch, params, Head("causal"), Method("full"), scan_layers=True)
    longest = max(len(body.tokenizer.raw.encode(prompt, add_special_tokens=False).ids) for prompt in prompts)
    rows = body.tokenizer.encode(list(prompts), max(longest + 1, 4)).ids
    ends = rows == body.tokenizer.separator
    rows = np.where(ends, -1, rows)  # a text that is to go on has not ended
    generate = make_generate(body.arch, plan=tuned.plan, num_tokens=num_tokens, end=body.tokenizer.separator)
    written = generate(
        tuned.bind(tuned.frozen)(tuned.start), jnp.asarray(rows), Sampling(temperature, top_p), jax.random.key(seed)
    )
    return [body.tokenizer.decode(row) for row in np.asarray(written)]
