"""Exactness: on a zoo of nasty models every engine gives the materialised engine's sums, norms, metrics and counts.

The reference is ``engine="materialize"`` in float64, itself held against a loop over single examples. Another engine
may differ from it by 1e-12 in float64 and by 1e-5 in float32, relative to the norm of the sum and to each unit's norm.
"""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from dpjax import Cohort, clipped_sum, example_gradient
from dpjax.clipping import ENGINES
from dpjax.contributions.losses import keys_of_records
from tests.zoo import ZOO, Entry, compose

TOLERANCE = {"float64": 1e-12, "float32": 1e-5}
SLOTS, EMPTY, BROKEN, SIZE = 5, 1, 3, 2
OTHERS = [engine for engine in ENGINES if engine != "materialize"]
EVERY_TIME = """
    logistic mlp_gelu weight_transposed_on_the_left einsum_scrambled_output einsum_experts_inner_batch vector_dot
    einsum_heads_to_model einsum_contracts_all_of_the_weight dense_general_two_outputs weight_is_flattened
    bias_before_and_after_reshape bias_broadcasts scales divides scalars prelu data_selects_parameters tied_embedding
    dense_twice autoencoder_with_transpose parts_of_one_weight product_with_itself embedding_ids_beyond_the_table
    embedding_scalar_id embedding_two_lookups positions_and_class_token expert_by_index parameter_is_scattered
    vector_quantisation lora lora_merged weight_norm fused_projection concatenated_kernels padded_and_rolled dropout
    mixed_precision nested_containers metrics_of_many_types parameters_that_do_not_enter loss_without_parameters
    regularised conv_nhwc_same_stride_2 conv_nchw_explicit_padding conv_odd_layout conv_lhs_dilated conv_groups
    conv_depthwise_1d conv_weight_standardised conv_with_the_parameter_as_image conv_over_frames attention_causal lstm
    user_with_ragged_records scan_layers scan_layers_cast_outside scan_layers_with_shared_weights
    scan_nested_time_over_layers scan_with_weights_in_the_carry checkpoint_layer jit_inside
    cond_with_parameters_in_both_branches fori_loop_with_parameters custom_vjp_with_a_parameter
    custom_jvp_with_a_parameter vmap_over_an_ensemble gradient_penalty adapts_before_it_predicts
    nnx_Mlp nnx_ScannedLayers linen_SharedAndNormalised equinox_StackedLayers
""".split()  # noqa: SIM905
"""One entry for each kind of use; the rest of the zoo is run by -m slow."""
BY_HAND = [
    "logistic", "tied_embedding", "conv_groups", "attention_causal", "lstm", "scan_layers", "dropout",
    "custom_vjp_with_a_parameter", "user_with_ragged_records", "cond_with_parameters_in_both_branches",
]  # fmt: skip
BFLOAT16 = ["logistic", "tied_embedding", "lora", "conv_nhwc_valid", "attention_causal", "scan_layers"]
NANS_DO_NO_HARM = ["data_selects_parameters", "loss_without_parameters"]

# The compiler's optimisations are not what is tested, and take half of the time.
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def cases(every: int = 1, engines=OTHERS) -> list:
    """All (engine, entry), of which the ``every``-th of EVERY_TIME are run without -m slow."""
    assert set(EVERY_TIME) <= set(ZOO)
    found = []
    for engine in engines:
        step = 12 if engine == "microbatch" else 1  # it vmaps the reference's own function
        usual = EVERY_TIME[:: every * step]
        found += [pytest.param(engine, name, marks=() if name in usual else pytest.mark.slow) for name in ZOO]
    return found


def make_entry(entry: Entry, dtype: str, kind: str):
    """The loss, its parameters and a cohort whose slot EMPTY is masked.

    ``kind``: "truth" has finite numbers everywhere, "garbage" NaNs in slot EMPTY, "broken" in slot BROKEN as well;
    "truth_without_broken" masks both.
    """
    params, loss_fn, make_units = entry.make(jax.random.key(1), jnp.dtype(dtype))
    units = make_units(jax.random.key(2), SLOTS, jnp.dtype(dtype))

    def spoil(x):
        x = np.array(x)  # NumPy: JAX would compile an update for every shape
        if x.dtype != bool:
            x[EMPTY] = 12345 if x.dtype == np.int32 else np.nan
        if kind == "broken" and not np.issubdtype(x.dtype, np.integer) and x.dtype != bool:
            x[(BROKEN, *[0] * (x.ndim - 1))] = np.nan
            x[(BROKEN, *[n // 2 for n in x.shape[1:]])] = np.nan  # a convolution may crop the first, or stride past
        return jnp.asarray(x)

    mask = np.arange(SLOTS) != EMPTY
    if kind == "truth_without_broken":
        mask[BROKEN] = False
    return params, loss_fn, Cohort(units if kind.startswith("truth") else jax.tree.map(spoil, units), jnp.asarray(mask))


@cache
def compiled(entry: Entry, engines: tuple[str, ...], dtype: str, size: int):
    """Several engines in one program, which takes half as long to compile, and those that refused the model."""
    with jax.enable_x64(dtype == "float64"):
        contribution, refusals = entry.contribution(make_entry(entry, dtype, "truth")[1]), {}

    def fun(*arguments):
        sums = {}
        for engine in engines:
            try:
                sums[engine] = clipped_sum(contribution, engine=engine, microbatch_size=size)(*arguments)
            except Exception as refusal:
                refusals[engine] = refusal
        return sums

    return jax.jit(fun, compiler_options=QUICK), refusals


@cache
def run_together(entry: Entry, engines: tuple[str, ...], dtype: str, size: int, clip_norm: float, kind: str):
    fun, refusals = compiled(entry, engines, dtype, size)
    with jax.enable_x64(dtype == "float64"):
        params, _, cohort = make_entry(entry, dtype, kind)
        return jax.tree.map(np.asarray, fun(params, cohort, jax.random.key(3), jnp.float32(clip_norm))), refusals


def run(entry: Entry, engine: str, dtype: str, size: int = SIZE, clip_norm=1.0, kind="garbage"):
    """One engine's ClippedSum, on the host."""
    alone = engine == "microbatch" or dtype != "float64" or size != SIZE
    together = (engine,) if alone else tuple(e for e in ENGINES if e != "microbatch")
    sums, refusals = run_together(entry, together, dtype, size, clip_norm, kind)
    if engine in refusals:
        raise refusals[engine]
    return sums[engine]


@cache
def reference(entry: Entry, kind: str = "truth"):
    """What is right, in float64 and at a clip norm that clips half of the units."""
    norms = run(entry, "materialize", "float64", kind="truth").norms
    clip_norm = float(np.float32(np.median(norms[norms > 0]))) if np.any(norms) else 1.0
    return clip_norm, run(entry, "materialize", "float64", SIZE, clip_norm, kind)


def norm(tree) -> float:
    return float(np.sqrt(sum(np.sum(np.square(np.asarray(x, np.float64))) for x in jax.tree.leaves(tree))))


def assert_agrees(out, expected, tolerance):
    assert jax.tree.structure(out.total) == jax.tree.structure(expected.total)
    assert jax.tree.map(np.shape, out) == jax.tree.map(np.shape, expected)
    difference = jax.tree.map(lambda a, b: np.float64(a) - np.float64(b), out.total, expected.total)
    assert norm(difference) <= tolerance * norm(expected.total)
    np.testing.assert_allclose(out.norms, expected.norms, rtol=tolerance)
    assert out.num_rejected == expected.num_rejected
    assert set(out.aux) == set(expected.aux)
    for name, metric in expected.aux.items():
        np.testing.assert_allclose(out.aux[name], metric, rtol=tolerance, atol=tolerance, err_msg=name)


def check(entry: Entry, engine: str, dtype: str, size: int = SIZE):
    clip_norm, expected = reference(entry)
    out = run(entry, engine, dtype, size, clip_norm)
    assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(out.total))
    assert_agrees(out, expected, max(TOLERANCE[dtype], entry.tolerance))


@pytest.mark.parametrize(("engine", "name"), cases())
def test_float64(engine, name):
    check(ZOO[name], engine, "float64")


@pytest.mark.parametrize(("engine", "name"), cases(every=5))
def test_float32(engine, name):
    check(ZOO[name], engine, "float32", SLOTS)


@pytest.mark.parametrize(("engine", "name"), cases(engines=ENGINES))
def test_a_unit_of_nans_is_rejected_alone(engine, name):
    entry = ZOO[name]
    units = make_entry(entry, "float32", "truth")[2].units
    if name in NANS_DO_NO_HARM or not any(jnp.issubdtype(x.dtype, jnp.floating) for x in jax.tree.leaves(units)):
        pytest.skip("no NaN reaches the gradient")
    clip_norm, expected = reference(entry, "truth_without_broken")
    out = run(entry, engine, "float64", SIZE, clip_norm, "broken")
    assert_agrees(out, expected._replace(num_rejected=1), max(TOLERANCE["float64"], entry.tolerance))


def check_sensitivity(entry: Entry, engine: str, dtype: str, size: int, slack: float):
    """Any one unit taken away moves the sum by no more than the clip norm, and any one alone is within it.

    The same program runs on other masks; the clip norm is a twentieth of the median, so that units are clipped.
    """
    clip_norm, expected = reference(entry)
    clip_norm = np.float32(clip_norm / 20)
    together = (
        (engine,) if engine == "microbatch" or dtype != "float64" else tuple(e for e in ENGINES if e != "microbatch")
    )
    fun, _ = compiled(entry, together, dtype, size)
    with jax.enable_x64(dtype == "float64"):
        params, _, cohort = make_entry(entry, dtype, "garbage")

        def total(mask):
            out = fun(params, cohort._replace(mask=jnp.asarray(mask)), jax.random.key(3), clip_norm)
            return jax.tree.map(lambda x: np.asarray(x, np.float64), out[engine].total)

        everyone = np.asarray(cohort.mask)
        whole = total(everyone)
        for i in np.flatnonzero(everyone):
            only = np.arange(SLOTS) == i
            assert norm(total(only)) <= clip_norm * (1 + slack)
            rest = jax.tree.map(np.subtract, whole, total(everyone & ~only))
            assert norm(rest) <= clip_norm * (1 + slack) + slack * norm(whole)
    assert np.any(expected.norms > clip_norm) or not np.any(expected.norms)


@pytest.mark.parametrize(("engine", "name"), cases())
def test_no_unit_weighs_more_than_the_clip_norm(engine, name):
    check_sensitivity(ZOO[name], engine, "float64", SIZE, 1e-6)


@pytest.mark.parametrize(("engine", "name"), cases(every=5))
def test_no_unit_weighs_more_than_the_clip_norm_in_float32(engine, name):
    check_sensitivity(ZOO[name], engine, "float32", SLOTS, 1e-6)


@pytest.mark.parametrize("engine", OTHERS)
@pytest.mark.parametrize("name", ["tied_embedding", "scan_layers"])
@pytest.mark.parametrize("size", [1, 8])
def test_microbatch_sizes(engine, name, size):
    check(ZOO[name], engine, "float64", size)


@pytest.mark.parametrize("name", BY_HAND)
def test_the_reference_equals_a_loop_over_examples(name):
    """Nothing of dpjax but the keys: float64, one ``jax.grad`` per unit, clipped and summed by NumPy."""
    entry = ZOO[name]
    clip_norm, expected = reference(entry)
    total, loss, norms = 0.0, 0.0, np.zeros(SLOTS)
    with jax.enable_x64(True):
        params, loss_fn, cohort = make_entry(entry, "float64", "truth")
        value_and_gradient = jax.jit(partial(by_hand, entry, loss_fn, params), compiler_options=QUICK)
        for i in np.flatnonzero(cohort.mask):
            unit = jax.tree.map(lambda x, i=i: x[i], cohort.units)
            value, gradient = value_and_gradient(unit, jax.random.fold_in(jax.random.key(3), i))
            flat = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(gradient)])
            norms[i] = np.linalg.norm(flat)
            total = total + flat * min(1.0, clip_norm / max(norms[i], 1e-300))
            loss += float(value)
    flat = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(expected.total)])
    np.testing.assert_allclose(flat, total, rtol=0, atol=1e-12 * np.linalg.norm(total))
    np.testing.assert_allclose(expected.norms, norms, rtol=1e-12)
    np.testing.assert_allclose(expected.aux["loss"], loss, rtol=1e-12)
    assert np.sum(norms > clip_norm) in (1, 2)


def by_hand(entry, loss_fn, params, unit, key):
    def loss(params):
        if entry.contribution is example_gradient:
            out = loss_fn(params, unit, key)
            return out[0] if isinstance(out, tuple) else out
        losses = [
            loss_fn(params, jax.tree.map(lambda x, i=i: x[i], unit.examples), one)[0]
            for i, one in enumerate(keys_of_records(key, unit.mask))
        ]
        keep = unit.mask.astype(losses[0].dtype)
        return jnp.stack(losses) @ keep / jnp.maximum(keep.sum(), 1)

    return jax.value_and_grad(loss)(params)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", BFLOAT16)
def test_bfloat16(engine, name):
    """Parameters, units and arithmetic in bfloat16, whose unit of rounding is 0.4 %, against the same in float64.

    Stated bound: a unit's norm is right to 2 % of itself and 1 % of the largest, the sum to 2 % of the sum of the
    clipped norms; sums are float32.
    """
    entry = ZOO[name]
    clip_norm, expected = reference(entry)
    out = run(entry, engine, "bfloat16", SIZE, clip_norm)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(out.total))
    np.testing.assert_allclose(out.norms, expected.norms, rtol=0.02, atol=0.01 * expected.norms.max())
    difference = jax.tree.map(lambda a, b: np.float64(a) - np.float64(b), out.total, expected.total)
    assert norm(difference) <= 0.02 * np.minimum(expected.norms, clip_norm).sum()


def check_composition(seed):
    entry = compose(seed)
    try:
        for engine in OTHERS:
            check(entry, engine, "float64")
        check(entry, OTHERS[-1], "float32", SLOTS)
    finally:
        compiled.cache_clear()


@settings(max_examples=3, deadline=None, derandomize=True, phases=[Phase.generate])
@given(seed=st.integers(0, 10**9))
def test_random_compositions(seed):
    check_composition(seed)


@pytest.mark.slow
@settings(max_examples=150, deadline=None, phases=[Phase.generate])
@given(seed=st.integers(0, 10**9))
def test_many_random_compositions(seed):
    check_composition(seed)
