"""Frozen matrices in few bits: what a rounding may cost, and that nothing wide is kept of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpjax import Cohort, clipped_sum, example_gradient
from dpjax.models import objectives
from dpjax.models.layer_stacks import flat_paths
from dpjax.models.transformers import Head, Lora, Plan, tiny
from dpjax.models.transformers.narrow import (
    BLOCK,
    FEW_BITS,
    LEVELS,
    NARROW,
    Narrow,
    narrowed,
    narrowed_shape,
    product,
    widened,
)
from dpjax.models.tuning import abstract_parameters, fine_tune, fresh_parameters
from dpjax.models.tuning_methods import Method

LORA = Method("lora", Lora(2, 4.0, ("query", "down")))
KINDS: tuple[Narrow | None, ...] = (None, "float32", "bfloat16", "float16", "int8", "nf4")
# Half the widest gap between two levels, and between two whole numbers of 127.
WORST = {"int8": 1 / 254, "nf4": 0.1520}


def test_levels_are_those_of_the_paper():
    published = (
        "-1.0 -0.6961928 -0.5250731 -0.3949175 -0.2844414 -0.1847734 -0.0910500 0.0 "
        "0.0795803 0.1609302 0.2461123 0.3379152 0.4407098 0.5626170 0.7229568 1.0"
    )
    np.testing.assert_allclose(LEVELS, [float(x) for x in published.split()], atol=2e-5)


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(FEW_BITS),
    layers=st.sampled_from([(), (1,), (3,)]),
    rows=st.integers(1, 200),
    columns=st.integers(1, 9),
    size=st.sampled_from([1e-30, 1e-3, 1.0, 1e30]),
    seed=st.integers(0, 99),
)
def test_a_number_is_off_by_a_share_of_its_block_at_most(kind, layers, rows, columns, size, seed):
    rng = np.random.default_rng(seed)
    kernel = (rng.normal(size=(*layers, rows, columns)) * size).astype(np.float32)
    kernel[..., rng.integers(columns)] = 0  # a column without anything
    stored = narrowed(kernel, kind)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), stored) == jax.tree.map(
        lambda x: (x.shape, x.dtype), narrowed_shape(kernel.shape, kind)
    )
    wide = np.asarray(widened(stored, rows), np.float64)
    assert wide.shape == kernel.shape
    for begin in range(0, rows, BLOCK):
        block = kernel[..., begin : begin + BLOCK, :].astype(np.float64)
        off = np.abs(wide[..., begin : begin + BLOCK, :] - block)
        assert (off <= WORST[kind] * np.abs(block).max(-2, keepdims=True) * (1 + 1e-5) + 1e-45).all()
    assert (wide[..., kernel.any(-2).reshape(-1, columns).any(0) == 0] == 0).all()


@pytest.mark.parametrize("kind", FEW_BITS)
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_numbers_that_are_none_are_refused(kind, wrong):
    with pytest.raises(ValueError, match="not finite"):
        narrowed(np.full((2, 2), wrong, np.float32), kind)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("kind", NARROW)
def test_a_product_and_its_slopes_are_those_of_the_widened_matrix(kind, dtype):
    keys = jax.random.split(jax.random.key(0), 2)
    x, kernel = jax.random.normal(keys[0], (3, 70), dtype), np.asarray(jax.random.normal(keys[1], (70, 5)))
    stored = jax.tree.map(jnp.asarray, narrowed(kernel, kind))
    wide = widened(stored, 70, dtype)
    both = [
        jax.value_and_grad(f)(x) for f in (lambda x: (product(x, stored) ** 2).sum(), lambda x: ((x @ wide) ** 2).sum())
    ]
    for ours, plain in zip(*both, strict=True):
        assert ours.dtype == plain.dtype == dtype
        np.testing.assert_allclose(
            ours.astype(jnp.float32), plain.astype(jnp.float32), rtol=2e-2 if dtype != jnp.float32 else 1e-6
        )


def rounded(body, kind):
    """The checkpoint that says in float32 what is stored in few bits."""

    def as_stored(path, array):
        if array.ndim < 2:
            return array
        few = kind not in FEW_BITS or (path.startswith("layers.") and path.endswith("kernel"))
        return np.asarray(widened(narrowed(array, kind if few else "bfloat16"), array.shape[-2]), np.float32)

    return {path: as_stored(path, array) for path, array in body.items()}


@pytest.mark.parametrize(
    ("family", "kind"),
    [("llama", "bfloat16"), ("llama", "nf4"), ("gpt2", "int8")],
)
def test_a_model_is_the_one_of_the_rounded_checkpoint_and_clipped_as_any(family, kind):
    arch = tiny(family)
    body = fresh_parameters(arch, jax.random.key(0))
    ids = jnp.array([[3, 4, 5, 6, -1], [7, 8, 9, 1, 2]])
    sums = []
    for params, frozen_dtype, engine in ((body, kind, "bookkeeping"), (rounded(body, kind), None, "materialize")):
        tuned = fine_tune(arch, params, Head("causal"), LORA, scan_layers=True, frozen_dtype=frozen_dtype)
        start = jax.tree.map(lambda x: x + 0.02, tuned.init(tuned.start, jax.random.key(1)))
        loss = objectives.mean_loss(objectives.causal(tuned.next_tokens(tuned.frozen)))
        clipped = jax.jit(clipped_sum(example_gradient(loss), engine=engine))
        found = clipped(start, Cohort((ids, jnp.zeros(2, jnp.int32)), jnp.ones(2, bool)), jax.random.key(2), 1e-2)
        sums.append((found.total, found.norms))
    for ours, plain in zip(*map(jax.tree.leaves, sums), strict=True):
        np.testing.assert_allclose(ours, plain, rtol=2e-4, atol=1e-7)


def step_of(arch, kind, method=LORA, units=2, length=8, recompute=False):
    """A private step on a model of which only shapes are in memory."""
    tuned = fine_tune(
        arch,
        abstract_parameters(arch),
        Head("causal"),
        method,
        plan=Plan(recompute=recompute),
        scan_layers=True,
        frozen_dtype=kind,
    )
    drawn = jax.eval_shape(tuned.init, tuned.start, jax.random.key(0))

    def step(params, frozen, ids, key):
        loss = objectives.mean_loss(objectives.causal(tuned.next_tokens(frozen)))
        cohort = Cohort((ids, jnp.zeros(units, jnp.int32)), jnp.ones(units, bool))
        return clipped_sum(example_gradient(loss), microbatch_size=units)(params, cohort, key, 1.0).total

    ids = jax.ShapeDtypeStruct((units, length), jnp.int32)
    return jax.jit(step).lower(drawn, tuned.frozen, ids, jax.random.key(0)).compile().memory_analysis()


@pytest.mark.parametrize("kind", [None, "bfloat16", "int8", "nf4"])
def test_no_wide_copy_of_all_layers_is_held(kind):
    arch = tiny("llama", width=256, num_heads=4, num_kv_heads=4, head_width=64, hidden_width=512, num_layers=16)
    layers = 16 * (4 * 256 * 256 + 3 * 256 * 512) * 4
    memory = step_of(arch, kind)
    assert memory is not None
    assert memory.temp_size_in_bytes < layers / 3
    bits = {None: 32, "bfloat16": 16, "int8": 8.6, "nf4": 4.6}[kind]
    assert memory.argument_size_in_bytes < layers * bits / 32 + 4e5


def test_a_method_that_leaves_no_matrix_is_told():
    arch = tiny("llama")
    with pytest.raises(ValueError, match="leaves no matrix as it is; use lora, or None"):
        fine_tune(arch, fresh_parameters(arch, jax.random.key(0)), Head("causal"), Method("full"), frozen_dtype="nf4")


def test_as_many_numbers_stay_however_they_are_stored():
    arch = tiny("llama")
    body = fresh_parameters(arch, jax.random.key(0))
    counts = {fine_tune(arch, body, Head("causal"), LORA, frozen_dtype=kind).num_frozen for kind in KINDS}
    assert counts == {sum(x.size for x in body.values())}


def test_vectors_stay_as_wide_as_what_they_are_added_to():
    arch = tiny("qwen2")
    tuned = fine_tune(arch, fresh_parameters(arch, jax.random.key(0)), Head("causal"), LORA, frozen_dtype="nf4")
    kinds = {path: leaf.dtype.name for path, leaf in flat_paths(tuned.frozen).items()}
    assert kinds["final_norm.scale"] == kinds["layers.0.attention.query.bias"] == "float32"
    assert kinds["token"] == "bfloat16"


@pytest.mark.parametrize(
    ("family", "method", "scan_layers"),
    [("llama", LORA, True), ("llama", LORA, False), ("modernbert", Method("full"), True)],
)
def test_layers_that_are_computed_again_change_no_number(family, method, scan_layers):
    arch = tiny(family)
    body = fresh_parameters(arch, jax.random.key(0))
    ids, sums = jnp.array([[3, 4, 5, 6, -1], [7, 8, 9, 1, 2]]), []
    for recompute in (False, True):
        plan = Plan(recompute=recompute)
        tuned = fine_tune(arch, body, Head("classify", 3), method, plan=plan, scan_layers=scan_layers)
        start = jax.tree.map(lambda x: x + 0.02, tuned.init(tuned.start, jax.random.key(1)))
        loss = objectives.mean_loss(objectives.classification(tuned.applying(tuned.frozen)))
        clipped = jax.jit(clipped_sum(example_gradient(loss), engine="bookkeeping"))
        found = clipped(start, Cohort((ids, jnp.array([0, 2])), jnp.ones(2, bool)), jax.random.key(2), 1e-2)
        sums.append((found.total, found.norms))
    for kept, again in zip(*map(jax.tree.leaves, sums), strict=True):
        np.testing.assert_allclose(again, kept, rtol=1e-4, atol=1e-7)


def test_layers_that_are_computed_again_hold_a_fraction():
    sizes = {"width": 64, "num_heads": 4, "num_kv_heads": 4, "head_width": 16, "hidden_width": 256}
    arch = tiny("llama", **sizes, num_layers=12, max_length=128)
    kept, again = (step_of(arch, None, length=128, recompute=flag) for flag in (False, True))
    assert kept is not None
    assert again is not None
    assert again.temp_size_in_bytes < kept.temp_size_in_bytes / 2
