"""Texts written by a causal model: greedy, by temperature, or from the likeliest tokens, one token's cost per token."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from dpjax.models.adapters import nnx_functions
from dpjax.models.transformers import PADDING, Added, Architecture, Head, Memory, Plan, Rope, Transformer
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
      >>> from dpjax.models.tuning import fine_tune, fresh_parameters
      >>> from dpjax.models.tuning_methods import Method
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
    ropes = [view.rope for view in arch.kinds if view.rope is not None and view.rope.stretch in ("dynamic", "longrope")]
    _, merge = nnx_functions(lambda rngs: Transformer(arch, Head("causal"), added, plan, rngs=rngs))

    def generate(
        params: Params, prompts: Int[Array, "prompts length"], sampling: Sampling, key: Key[Array, ""]
    ) -> Int[Array, "prompts num_tokens"]:
        count, length = prompts.shape
        capacity = added.prompt_length + length + num_tokens
        if capacity > arch.max_length:
            raise ValueError(
                f"a prompt of {length} tokens and num_tokens={num_tokens} exceed the {arch.max_length} positions "
                "that the model knows; ask for fewer."
            )
        module: Transformer = merge(jax.tree.map(jnp.asarray, params), None)  # pyright: ignore[reportAssignmentType]

        # All texts go on at one place, whatever their lengths, so that writing there needs no scatter.
        empty = length - jnp.sum(prompts >= 0, axis=1, dtype=jnp.int32)

        def begin(
            text: Int[Array, "length"], empty: Int[Array, ""], key: Key[Array, ""], at: int | Int[Array, ""]
        ) -> tuple[Array, list[Memory]]:
            hidden, memory = module.read(text, empty_memory(arch, plan, capacity), 0)
            read = jnp.sum(text >= 0, dtype=jnp.int32)
            last = jnp.take(hidden, jnp.maximum(read - 1, 0), axis=0)
            memory = jax.tree.map(lambda part: jnp.roll(part, empty, axis=-3), memory)
            return draw(module.logits(last[None])[0], sampling, jax.random.fold_in(key, at)), memory

        def follow(
            token: Int[Array, ""], memory: list[Memory], empty: Int[Array, ""], key: Key[Array, ""], at: Int[Array, ""]
        ) -> tuple[Array, list[Memory]]:
            hidden, memory = module.read(token[None], memory, added.prompt_length + length + at, empty)
            return draw(module.logits(hidden)[0], sampling, jax.random.fold_in(key, at + 1)), memory

        keys = jax.random.split(key, count)
        first, memory = _each(partial(begin, at=0), count)(prompts, empty, keys)
        stretched = [rope for rope in ropes if rope.trained < capacity]

        def unfinished(carry: tuple[Array, Array, list[Memory], Array]) -> Array:
            at, _, _, over = carry
            return (at < num_tokens - 1) & ~jnp.all(over)

        def step(carry: tuple[Array, Array, list[Memory], Array]) -> tuple[Array, Array, list[Memory], Array]:
            at, written, memory, over = carry
            token = jax.lax.dynamic_index_in_dim(written, at, 1, keepdims=False)
            go_on = _each(partial(follow, at=at), count)
            if stretched:
                size = added.prompt_length + length - empty + at + 1  # of each text, this token in it
                turns = jnp.any(jnp.stack([_turns_anew(rope, size) for rope in stretched]))
                following, memory = jax.lax.cond(
                    turns,
                    lambda *_: _each(partial(begin, at=at + 1), count)(so_far(written), empty, keys),
                    lambda *given: go_on(*given),
                    *(token, memory, empty, keys),
                )
            else:
                following, memory = go_on(token, memory, empty, keys)
            following = jnp.where(over, PADDING, following)
            written = jax.lax.dynamic_update_index_in_dim(written, following, at + 1, 1)
            return at + 1, written, memory, over | ends(following)

        def so_far(written: Int[Array, "prompts num_tokens"]) -> Int[Array, "prompts all"]:
            """Prompts and what was written, without a gap."""
            moved = jax.vmap(jnp.roll)(prompts, empty)
            return jax.vmap(jnp.roll)(jnp.concatenate([moved, written], axis=1), -empty)

        def ends(tokens: Int[Array, "prompts"]) -> Array:
            return tokens == end if end is not None else jnp.zeros(count, bool)

        written = jnp.full((count, num_tokens), PADDING, jnp.int32).at[:, 0].set(first)
        carry = jnp.zeros((), jnp.int32), written, memory, ends(first)
        return jax.lax.while_loop(unfinished, step, carry)[1]

    return jax.jit(generate)


def _turns_anew(rope: Rope, size: Int[Array, "prompts"]) -> Bool[Array, "prompts"]:
    """Whether what was remembered of a shorter text turns otherwise in one of this size, and has to be read again."""
    return size > rope.trained if rope.stretch == "dynamic" else size == rope.trained + 1


def _each(function: Callable[..., Any], count: int) -> Callable[..., Any]:
    """A function of one prompt for all; a single one keeps vectors, whose products are the fastest there are."""
    if count > 1:
        return jax.vmap(function)

    def alone(*args: Any) -> Any:
        return jax.tree.map(lambda x: x[None], function(*jax.tree.map(lambda x: x.reshape(x.shape[1:]), args)))

    return alone


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

    def likely(scaled: Array) -> Array:
        ordered = jnp.sort(jax.nn.softmax(scaled), descending=True)
        before = jnp.cumsum(ordered) - ordered
        least = jnp.min(jnp.where(before < top_p, ordered, jnp.inf))
        return jnp.where(jax.nn.softmax(scaled) >= least, scaled, -jnp.inf)

    def drawn() -> Array:
        scaled = logits / jnp.maximum(temperature, 1e-6)
        # Sorting a vocabulary costs more than the product that gave its scores.
        return jax.random.categorical(key, jax.lax.cond(top_p < 1, likely, lambda all_: all_, scaled))

    token = jax.lax.cond(temperature > 0, drawn, lambda: jnp.argmax(logits))
    return token.astype(jnp.int32)
