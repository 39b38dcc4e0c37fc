"""What is written with keys and values remembered is what computing everything anew would write."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dpjax.models.generation import Sampling, draw, make_generate
from dpjax.models.transformers import Head, Rope, from_hub_config, tiny
from dpjax.models.tuning import fine_tune, fresh_parameters
from dpjax.models.tuning_methods import Method
from tests.families import CONFIGS

# Compilation is most of the time here.
jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
KEY = jax.random.key(0)
PROMPTS = [[5, 9, 2, 7, 11, 3], [8], [4, 6, 21, 13]]
NUM_TOKENS = 9

CASES = {
    "llama3's positions": ("llama", 1, "full", False),
    "factors of near texts": ("phi3", 3, "full", True),
    "a window": ("mistral", 0, "full", True),
    "caps": ("gemma2", 1, "full", False),
    "learned positions": ("gpt2", 0, "full", False),
    "parallel": ("gpt_neox", 0, "full", True),
    "layers without positions": ("smollm3", 1, "full", True),
    "a trained prompt": ("mistral", 0, "prompt", True),
    "a trained prompt by learned positions": ("gpt2", 0, "prompt", False),
    "trained prefixes": ("llama", 0, "prefix", True),
}


def made(family, number, method="full", scan_layers=True):
    arch = from_hub_config({"model_type": family, **CONFIGS[family][number], "max_position_embeddings": 64})
    body = fresh_parameters(arch, jax.random.key(1))
    tuned = fine_tune(arch, body, Head("causal"), Method(method, length=3), scan_layers=scan_layers)
    held = tuned.init(tuned.start, KEY)
    # Random enough that tokens vary and no two logits tie.
    held = jax.tree.map(lambda x: x + 0.3 * jax.random.normal(jax.random.key(x.size), x.shape), held)
    return tuned, held


def padded(prompts):
    longest = max(map(len, prompts))
    return jnp.asarray([prompt + [-1] * (longest - len(prompt)) for prompt in prompts], jnp.int32)


@pytest.mark.parametrize("case", CASES)
def test_prompts_of_any_lengths_go_on_as_each_would_computed_anew(case):
    tuned, held = made(*CASES[case])
    everything = tuned.bind(tuned.frozen)(held)
    generate = jit(make_generate(tuned.arch, tuned.added, tuned.plan, num_tokens=NUM_TOKENS))
    written = np.asarray(generate(everything, padded(PROMPTS), Sampling(), KEY))
    if tuned.added.prompt_length:  # one prompt takes another way than several
        alone = np.asarray(generate(everything, padded(PROMPTS[2:]), Sampling(), KEY))
        assert written[2].tolist() == alone[0].tolist()
    model = tuned.applying(tuned.frozen)
    rows = padded([prompt + found for prompt, found in zip(PROMPTS, written.tolist(), strict=True)])
    likeliest = jit(lambda held, rows: jnp.argmax(jax.vmap(lambda row: model.apply(held, row, None))(rows), -1))
    anew = np.asarray(likeliest(held, rows))
    for prompt, found, tokens in zip(PROMPTS, written.tolist(), anew, strict=True):
        assert tokens[len(prompt) - 1 :][:NUM_TOKENS].tolist() == found
    assert len(set(written.ravel().tolist())) > 1


@pytest.mark.parametrize("count", [3, 1])
@pytest.mark.parametrize("stretch", ["longrope", "dynamic"])
def test_a_text_that_outgrows_what_positions_were_trained_for_is_read_again(stretch, count):
    """Its length changes how all of its keys turn: the first ones may not be remembered as they were."""
    arch = tiny("llama", max_length=64)
    rope = Rope(stretch=stretch, trained=10, factor=4.0, short=(1.0, 1.0), long=(2.0, 5.0))
    arch = replace(arch, views=tuple(replace(view, rope=rope) for view in arch.views))
    tuned = fine_tune(arch, fresh_parameters(arch, jax.random.key(1)), Head("causal"), Method("full"), scan_layers=True)
    held = jax.tree.map(
        lambda x: x + 0.3 * jax.random.normal(jax.random.key(x.size), x.shape), tuned.init(tuned.start, KEY)
    )
    prompts = PROMPTS[:count]
    written = np.asarray(
        jit(make_generate(arch, plan=tuned.plan, num_tokens=NUM_TOKENS))(
            tuned.bind(tuned.frozen)(held), padded(prompts), Sampling(), KEY
        )
    )
    model, size = tuned.applying(tuned.frozen), max(map(len, prompts)) + NUM_TOKENS
    logits = jit(lambda row: model.apply(held, row, None))
    for prompt, found in zip(prompts, written.tolist(), strict=True):
        text = list(prompt)
        for _ in range(NUM_TOKENS):
            row = jnp.asarray(text + [-1] * (size - len(text)), jnp.int32)
            text.append(int(jnp.argmax(logits(row)[len(text) - 1])))
        assert text[len(prompt) :] == found


def test_a_text_that_is_over_leaves_the_others_as_they_are():
    tuned, held = made("llama", 0)
    everything = tuned.bind(tuned.frozen)(held)
    prompts = padded(PROMPTS)

    def drawn(end):
        generate = jit(make_generate(tuned.arch, plan=tuned.plan, num_tokens=12, end=end))
        return np.asarray(generate(everything, prompts, Sampling(1.0), KEY))

    free = drawn(None)
    end = int(free[0, 2])
    ended = drawn(end)
    for row, whole in zip(ended.tolist(), free.tolist(), strict=True):
        length = whole.index(end) + 1 if end in whole else len(whole)
        assert row == whole[:length] + [-1] * (len(whole) - length)


def outside_branches(program):
    """Names of what runs whichever branches are taken."""
    for equation in program.eqns:
        yield equation.primitive.name
        if equation.primitive.name != "cond":
            for inner in equation.params.values():
                if hasattr(inner, "eqns"):
                    yield from outside_branches(inner)


def test_without_a_temperature_nothing_is_sorted():
    """A sort of the vocabulary stands in a branch, for one text and for several."""
    many = jax.vmap(draw, in_axes=(0, None, 0))
    sampling, keys = Sampling(0.0, 0.5), jax.random.split(KEY, 2)
    for program in (
        jax.make_jaxpr(draw)(jnp.zeros(50), sampling, KEY),
        jax.make_jaxpr(many)(jnp.zeros((2, 50)), sampling, keys),
    ):
        names = set(outside_branches(program.jaxpr))
        assert "cond" in names
        assert not names & {"sort", "random_bits"}
        assert "sort" in str(program)
