"""Texts written by a causal model: greedy, by temperature, or from the likeliest tokens, one token's cost per token."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from dpjax.models.adapters import nnx_functions
from dpjax.models.transformers import PADDING, Added, Architecture, Head, Memory, Plan, Transformer
from dpjax.ranges import NUM_TOKENS
from dpjax.types import Params


class Sampling(NamedTuple):
    """How the next token is drawn; traced, so that other values need no compilation.

    Attributes:
      temperature: logits are divided by it; 0 takes the likeliest token always.
      top_p: the smallest set of tokens that holds this much probability is drawn from; 1: all.
    """

    temperature: float | Float[Array, ""] = 0.0
    top_p: float | Float[Array, ""] = 1.0


def make_generate(
    arch: Architecture,
    added: Added | None = None,
    plan: Plan | None = None,
    *,
    num_tokens: int,
    end: int | None = None,
) -> Callable[[Params, Int[Array, "prompts length"], Sampling, Key[Array, ""]], Int[Array, "prompts num_tokens"]]:
    """A function that continues prompts, one compilation for each shape of them.

    Keys and values of what was read are remembered, so that a token costs one token. What is written is computed from
    the parameters alone: for a model trained with ε it is post-processing, however many texts are drawn.

    Args:
      arch: of a causal model.
      added: what fine-tuning added to it.
      plan: how its parameters are laid out.
      num_tokens: tokens to write.
      end: id after which a text is over; None: none.

    Returns:
      ``generate(params, prompts, sampling, key) -> [prompts, num_tokens]`` ids, ``PADDING`` after the end. Prompts are
      ``[prompts, length]``, ``PADDING`` beyond their end; an empty one is not allowed.

    Raises:
      ValueError: a model that is not causal, or ``num_tokens`` < 1; when traced, more tokens than positions.

    Example:
      >>> from dpjax.models.transformers import tiny
      >>> from dpjax.models.tuning import Method, fine_tune, fresh_parameters
      >>> arch = tiny("llama")
      >>> tuned = fine_tune(arch, fresh_parameters(arch, jax.random.key(0)), Head("causal"), Method("full"))
      >>> generate = make_generate(arch, num_tokens=3)
      >>> generate(tuned.start, jnp.array([[5, 6, -1]]), Sampling(), jax.random.key(1)).shape
      (1, 3)

    References:
      Holtzman et al., The Curious Case of Neural Text Degeneration, 2020 (https://arxiv.org/abs/1904.09751).
    """
    added, plan = added or Added(), plan or Plan()
    if not arch.causal:
        raise ValueError(
            f"a {arch.family} sees what follows, so it writes nothing; use a causal model, as a llama or gpt2."
        )
    num_tokens = NUM_TOKENS.known("num_tokens", num_tokens)
    _, merge = nnx_functions(lambda rngs: Transformer(arch, Head("causal"), added, plan, rngs=rngs))

    def generate(
        params: Params, prompts: Int[Array, "prompts length"], sampling: Sampling, key: Key[Array, ""]
    ) -> Int[Array, "prompts num_tokens"]:
        params = jax.tree.map(jnp.asarray, params)
        keys = jax.random.split(key, prompts.shape[0])
        return jax.vmap(one, in_axes=(None, 0, None, 0))(params, prompts, sampling, keys)

    def one(
        params: Params, prompt: Int[Array, "length"], sampling: Sampling, key: Key[Array, ""]
    ) -> Int[Array, "num_tokens"]:
        module: Transformer = merge(params, None)  # pyright: ignore[reportAssignmentType]
        length = prompt.shape[0]
        capacity = added.prompt_length + length + num_tokens
        if capacity > arch.max_length:
            raise ValueError(
                f"a prompt of {length} tokens and num_tokens={num_tokens} exceed the {arch.max_length} positions "
                "that the model knows; ask for fewer."
            )
        hidden, memory = module.read(prompt, empty_memory(arch, plan, capacity), 0)
        # What padding has written is overwritten before anyone may look there.
        read = jnp.sum(prompt >= 0, dtype=jnp.int32)
        last = jnp.take(hidden, jnp.maximum(read - 1, 0), axis=0)
        first = draw(module.logits(last[None])[0], sampling, jax.random.fold_in(key, 0))

        def step(
            carry: tuple[Array, list[Memory], Array], at: Int[Array, ""]
        ) -> tuple[tuple[Array, list[Memory], Array], Array]:
            token, memory, over = carry
            shown = jnp.where(over, PADDING, token)
            over = over | (token == end) if end is not None else over
            hidden, memory = module.read(token[None], memory, added.prompt_length + read + at)
            following = draw(module.logits(hidden)[0], sampling, jax.random.fold_in(key, at + 1))
            return (following, memory, over), shown

        carry = first, memory, jnp.zeros((), bool)
        (token, _, over), written = jax.lax.scan(step, carry, jnp.arange(num_tokens - 1, dtype=jnp.int32))
        return jnp.append(written, jnp.where(over, PADDING, token))

    return jax.jit(generate)


def empty_memory(arch: Architecture, plan: Plan, capacity: int) -> list[Memory]:
    """Room for so many tokens in every stack of layers."""
    shape = capacity, arch.num_kv_heads, arch.head_width
    sizes = plan.sizes(arch.num_layers)
    return [Memory(*(jnp.zeros(shape if n == 1 else (n, *shape), plan.dtype) for _ in range(2))) for n in sizes]


def draw(logits: Float[Array, "vocab"], sampling: Sampling, key: Key[Array, ""]) -> Int[Array, ""]:
    """The next token.

    Args:
      logits: ``[vocab]``.
      sampling: temperature and top-p; ties at the edge of the set are all in it.
      key: of this draw.

    Example:
      >>> logits = jnp.log(jnp.array([0.5, 0.3, 0.2]))
      >>> drawn = jax.vmap(lambda key: draw(logits, Sampling(1.0, 0.6), key))(jax.random.split(jax.random.key(0), 200))
      >>> sorted(set(drawn.tolist()))
      [0, 1]
    """
    temperature, top_p = (jnp.asarray(x, logits.dtype) for x in sampling)
    scaled = logits / jnp.maximum(temperature, 1e-6)
    ordered = jnp.sort(jax.nn.softmax(scaled), descending=True)
    before = jnp.cumsum(ordered) - ordered
    least = jnp.min(jnp.where(before < top_p, ordered, jnp.inf))
    allowed = jnp.where(jax.nn.softmax(scaled) >= least, scaled, -jnp.inf)
    drawn = jax.random.categorical(key, allowed)
    return jnp.where(temperature > 0, drawn, jnp.argmax(logits)).astype(jnp.int32)
