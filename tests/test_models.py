"""Models: shapes and counts, convolution and pooling against Flax, and what is turned away before training."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from dpjax import Cohort, clipped_sum, example_gradient
from dpjax.clipping import ENGINES
from dpjax.clipping.program import inner_jaxprs
from dpjax.models import (
    Conv,
    ConvBlock,
    Model,
    build,
    cnn,
    cross_entropy_loss,
    from_linen,
    from_nnx,
    im2col_conv,
    logistic,
    max_pool,
    mlp,
    text_mlp,
)
from dpjax.models.convolutional_networks import ConvNet
from dpjax.models.model import count_params

# Most of the time here is compilation, and these programs are too small to be worth optimising.
jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def some_params(model):
    """Parameters of the right shapes, without the seconds that compiling an initialiser takes."""
    source = np.random.default_rng(0)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    return jax.tree.map(lambda leaf: jnp.asarray(source.normal(size=leaf.shape) / 8, leaf.dtype), shapes)


CASES = [
    ("logistic", (30,), {}, 62),
    ("logistic", (8, 8), {}, 130),
    ("mlp", (64,), {"hidden": (64,)}, 64 * 64 + 64 + 130),
    ("mlp", (8, 8, 1), {"hidden": [16, 8], "activation": "relu"}, 64 * 16 + 16 + 16 * 8 + 8 + 18),
    ("mlp", (5,), {"hidden": ()}, 12),
    ("cnn", (28, 28, 1), {}, 26_010 - 8 * 33),
    ("cnn", (28, 28), {}, 26_010 - 8 * 33),
    ("cnn", (8, 8, 1), {}, 21_546 - 8 * 33),
    ("cnn", (32, 32, 3), {"activation": "relu"}, None),
    ("cnn", (12, 12, 3), {"blocks": [[4, 3, 1, "VALID", 2, 2]], "hidden": 8}, 112 + 100 * 8 + 8 + 18),
    ("wide_resnet", (32, 32, 3), {}, 2_748_890 - 8 * 257),  # WRN-16-4 of ten classes, and two
    ("wide_resnet", (8, 8), {"depth": 10, "width": 1, "groups": 4}, None),
    ("text", (9,), {"context": 3, "embedding": 4, "hidden": [5]}, 2 * 4 + 12 * 5 + 5 + 12),
    ("text", (80,), {"context": 80, "hidden": ()}, 2 * 16 + 80 * 16 * 2 + 2),
]


@pytest.mark.parametrize(("name", "shape", "options", "count"), CASES)
def test_every_built_in_model_gives_logits_and_has_the_parameters_it_states(name, shape, options, count):
    model = build(name, num_classes=2, input_shape=shape, **options)
    params = jax.eval_shape(model.init, jax.random.key(0))
    example = jax.ShapeDtypeStruct(shape, jnp.int32 if name == "text" else jnp.float32)
    logits = jax.eval_shape(lambda p, x: model.apply(p, x, None), params, example)
    assert logits.shape == (2,)
    assert logits.dtype == jnp.float32
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))
    assert count is None or count_params(params) == count


def test_the_default_cnn_is_the_published_tutorial_network():
    assert count_params(jax.eval_shape(cnn(10, (28, 28, 1)).init, jax.random.key(0))) == 26_010


def flat_dicts(tree) -> bool:
    return not isinstance(tree, dict) or (
        type(tree) is dict and all(isinstance(key, str) and flat_dicts(value) for key, value in tree.items())
    )


@pytest.mark.parametrize("model", [mlp(3, (4,), hidden=(5, 6)), cnn(3, (8, 8))], ids=["mlp", "cnn"])
def test_init_runs_under_jit_and_vmap_and_its_params_are_plain(model):
    keys = jax.random.split(jax.random.key(1), 3)
    lanes = jax.device_get(jit(jax.vmap(model.init))(keys))
    one = jit(model.init)(keys[1])
    assert flat_dicts(one)
    assert jax.tree.structure(one) == jax.tree.structure(lanes)
    for many, single in zip(jax.tree.leaves(lanes), jax.tree.leaves(one), strict=True):
        np.testing.assert_allclose(many[1], single, rtol=1e-6, atol=1e-7)
    kernels = [leaf for leaf in jax.tree.leaves(lanes) if leaf.ndim > 2]
    assert all(np.abs(leaf[0] - leaf[1]).max() > 1e-3 for leaf in kernels)


def test_training_inside_a_scan_learns_and_traces_once():
    model = mlp(2, (2,), hidden=(8,))
    loss_fn = cross_entropy_loss(model)
    inputs = jax.random.normal(jax.random.key(0), (64, 2))
    labels = (inputs[:, 0] * inputs[:, 1] > 0).astype(jnp.int32)
    optimizer = optax.sgd(0.5, momentum=0.9)

    @jit
    def train(key):
        params = model.init(key)

        def step(carry, _):
            params, state = carry
            batch_loss = lambda p: jax.vmap(loss_fn, (None, 0, None))(p, (inputs, labels), None)[0].mean()  # noqa: E731
            updates, state = optimizer.update(jax.grad(batch_loss)(params), state)
            return (optax.apply_updates(params, updates), state), None

        (params, _), _ = jax.lax.scan(step, (params, optimizer.init(params)), None, length=150)
        return jax.vmap(loss_fn, (None, 0, None))(params, (inputs, labels), None)[1]["accuracy"].mean()

    assert float(train(jax.random.key(3))) > 0.9
    assert train._cache_size() == 1


def test_the_loss_is_the_cross_entropy():
    model = logistic(3, (4,))
    params = {"head": {"kernel": jax.random.normal(jax.random.key(0), (4, 3)), "bias": jnp.zeros(3)}}
    inputs = jnp.arange(4.0) / 4

    @jit
    def both(params):
        logits = model.apply(params, inputs, None)
        expected = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.int32(1))
        return cross_entropy_loss(model)(params, (inputs, jnp.int32(1)), None), logits, expected

    (loss, metrics), logits, expected = both(params)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    assert metrics["accuracy"] == float(np.argmax(logits) == 1)


# --- convolution and pooling


def forward_and_gradients(function, *arguments):
    @jit
    def run(*arguments):
        out, pull_back = jax.vjp(function, *arguments)
        return out, pull_back(jnp.cos(jnp.arange(out.size, dtype=out.dtype)).reshape(out.shape))

    return run(*arguments)


def assert_same(ours, theirs):
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@settings(max_examples=8, deadline=None)
@given(
    size=st.tuples(st.integers(5, 9), st.integers(5, 9)),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    channels=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.sampled_from(["SAME", "VALID", ((1, 2), (0, 1)), "CIRCULAR"]),
)
def test_conv_equals_nnx_conv_with_its_gradients(size, kernel, strides, channels, padding):
    source = np.random.default_rng(0)
    weights = {
        "kernel": source.normal(size=(*kernel, *channels)).astype(np.float32),
        "bias": source.normal(size=channels[1]).astype(np.float32),
    }
    inputs = source.normal(size=(*size, channels[0])).astype(np.float32)
    models = [
        from_nnx(lambda rngs, layer=layer: layer(*channels, kernel, strides, padding=padding, rngs=rngs))
        for layer in (Conv, nnx.Conv)
    ]
    ours, theirs = (forward_and_gradients(lambda p, x, m=m: m.apply(p, x, None), weights, inputs) for m in models)
    assert_same(ours, theirs)


@pytest.mark.parametrize(
    ("shape", "kernel", "options"),
    [
        ((2, 9, 3), (3,), {"strides": 2}),
        ((9, 3), (3,), {"padding": "CAUSAL"}),
        ((2, 1, 7, 8, 3), (3, 2), {"kernel_dilation": 2}),
        ((3, 4, 3, 3), (2, 3, 2), {"use_bias": False}),
        ((7, 8, 3), (3, 3), {"feature_group_count": 3}),
        ((7, 8, 3), (3, 3), {"input_dilation": 2, "padding": 1}),
    ],
    ids=["1d", "causal", "dilated", "3d", "grouped", "transposed"],
)
def test_conv_equals_nnx_conv_in_its_rarer_forms(shape, kernel, options):
    inputs = jax.random.normal(jax.random.key(1), shape)
    models = [
        from_nnx(lambda rngs, layer=layer: layer(3, 6, kernel, rngs=rngs, **options)) for layer in (Conv, nnx.Conv)
    ]
    params = some_params(models[0])
    ours, theirs = (forward_and_gradients(lambda p, x, m=m: m.apply(p, x, None), params, inputs) for m in models)
    assert_same(ours, theirs)


@pytest.mark.parametrize(
    ("kernel", "strides"), [((4, 4), (2, 2)), ((3, 5), (2, 3)), ((1, 2), (3, 2)), ((2, 3), (1, 2))]
)
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_strided_windows_of_many_channels_equal_nnx_conv_and_spread_no_numbers_among_zeros(kernel, strides, padding):
    inputs = jax.random.normal(jax.random.key(1), (9, 10, 32))
    models = [
        from_nnx(lambda rngs, layer=layer: layer(32, 3, kernel, strides, padding=padding, rngs=rngs))
        for layer in (Conv, nnx.Conv)
    ]
    params = some_params(models[0])
    ours, theirs = (forward_and_gradients(lambda p, x, m=m: m.apply(p, x, None), params, inputs) for m in models)
    assert_same(ours, theirs)
    gradient = jax.make_jaxpr(jax.grad(lambda x: models[0].apply(params, x, None).sum()))(inputs)
    assert not spread_numbers(gradient.jaxpr)


def spread_numbers(jaxpr):
    """The pads, at any depth, that put zeros between numbers."""
    pads = [e for e in jaxpr.eqns if e.primitive.name == "pad" and any(hole for *_, hole in e.params["padding_config"])]
    return pads + [pad for eqn in jaxpr.eqns for inner in inner_jaxprs(eqn) for pad in spread_numbers(inner)]


def test_conv_starts_as_nnx_conv_does():
    ours, theirs = (nnx.to_pure_dict(nnx.state(layer(2, 3, (3, 3), rngs=nnx.Rngs(5)))) for layer in (Conv, nnx.Conv))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_im2col_fits_linen_conv():
    inputs = jax.random.normal(jax.random.key(1), (6, 6, 2))
    params = {"params": some_params(from_linen(nn.Sequential([nn.Conv(4, (3, 3)), jnp.ravel]), inputs))["layers_0"]}
    ours, theirs = (
        jit(nn.Conv(4, (3, 3), **options).apply)(params, inputs)
        for options in ({"conv_general_dilated": im2col_conv}, {})
    )
    assert_same(ours, theirs)


@settings(max_examples=8, deadline=None)
@given(
    shape=st.tuples(st.integers(4, 9), st.integers(4, 9), st.integers(1, 3)),
    window=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    strides=st.none() | st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.sampled_from(["SAME", "VALID"]),
)
def test_max_pool_equals_nnx_max_pool_with_its_gradient(shape, window, strides, padding):
    # A permutation has no ties, where the two share the gradient differently.
    order = np.random.default_rng(0).permutation(int(np.prod(shape)))
    inputs = (order.astype(np.float32) - 20).reshape(shape)
    ours, theirs = (
        forward_and_gradients(lambda x, pool=pool: pool(x, window, strides, padding), inputs)
        for pool in (max_pool, nnx.max_pool)
    )
    assert_same(ours, theirs)


def test_max_pool_shares_the_gradient_of_a_tie_and_passes_nan_on():
    gradient = jit(jax.grad(lambda x: max_pool(x, (2, 2)).sum()))(np.ones((2, 2, 1), np.float32))
    np.testing.assert_allclose(gradient, np.full((2, 2, 1), 0.25))
    inputs = np.ones((2, 2, 4), np.float32)
    inputs[[0, 0, 1, 1], [0, 1, 0, 1], np.arange(4)] = np.nan
    assert np.isnan(jit(lambda x: max_pool(x, (2, 2)))(inputs)).all()


@pytest.mark.parametrize("shape", [(28, 28, 1), (8, 8, 1)])
def test_the_cnn_has_the_per_example_gradients_of_flax_layers(shape):
    model = cnn(10, shape)
    blocks = [ConvBlock(16), ConvBlock(32, pool_size=2, pool_strides=2)]
    if shape[0] == 28:
        blocks = [ConvBlock(16, 8, 2, "SAME", 2, 1), ConvBlock(32, 4, 2, "VALID", 2, 1)]
    flax_model = from_nnx(lambda rngs: ConvNet(10, shape, blocks, 32, "tanh", rngs, conv=nnx.Conv, pool=nnx.max_pool))
    params = some_params(model)
    assert jax.tree.structure(params) == jax.tree.structure(some_params(flax_model))
    batch = jax.random.normal(jax.random.key(1), (3, *shape)), jnp.arange(3)
    gradients = [
        jit(jax.vmap(jax.grad(cross_entropy_loss(m), has_aux=True), (None, 0, None)))(params, batch, None)
        for m in (model, flax_model)
    ]
    assert_same(*gradients)


# --- text


def test_the_text_model_reads_its_context_and_no_more():
    model = text_mlp(7, (6,), context=2, embedding=3, hidden=(4,))
    params = some_params(model)
    read = jit(lambda *ids: model.apply(params, jnp.stack(ids).astype(jnp.int32), None))
    own = jax.device_get(params)
    table, layer, head = own["embedding"]["embedding"], own["hidden"]["0"], own["head"]
    hidden = np.tanh(np.concatenate([table[5], table[6]]) @ layer["kernel"] + layer["bias"])
    logits = read(1, 2, 3, 4, 5, 6)
    np.testing.assert_allclose(logits, hidden @ head["kernel"] + head["bias"], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(read(0, 0, 0, 0, 5, 6), logits)
    assert np.isnan(read(1, 2, 3, 4, 5, 7)).all()  # an id that the vocabulary lacks


def test_engines_agree_on_the_text_model():
    model = text_mlp(7, (6,), context=4, embedding=3, hidden=(5,))
    ids = jax.random.randint(jax.random.key(0), (5, 6), 0, 7).at[2].set(3)  # one id four times over
    ids = ids.at[4, 5].set(9)  # and one that the vocabulary lacks
    cohort = Cohort((ids, jnp.arange(5)), jnp.array([True, False, True, True, True]))

    @jit
    def run():
        contribution = example_gradient(cross_entropy_loss(model))
        return [
            clipped_sum(contribution, engine=engine, microbatch_size=2)(
                some_params(model), cohort, jax.random.key(1), jnp.float32(0.5)
            )
            for engine in ENGINES
        ]

    first, *others = run()
    assert first.num_rejected == 1
    for other in others:
        np.testing.assert_allclose(other.norms, first.norms, rtol=1e-5)
        assert_same(other.total, first.total)
        assert other.num_rejected == 1


# --- adapters


class Dropped(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.layers = nnx.List([nnx.Dropout(0.5, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)])
        self.head = nnx.Linear(64, 64, rngs=rngs)

    def __call__(self, x):
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


class LinenDropped(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Dropout(0.5, deterministic=not train)(x)
        return nn.Dense(64)(nn.Dropout(0.5, deterministic=not train)(x))


@pytest.mark.parametrize("model", [from_nnx(Dropped), from_linen(LinenDropped(), jnp.zeros(64))], ids=["nnx", "linen"])
def test_dropout_is_keyed_and_off_without_a_key(model):
    params = some_params(model)
    ones = jnp.ones(64)
    keys = jax.random.split(jax.random.key(1), 50)
    call, alone = jit(jax.vmap(model.apply, (None, None, 0))), jit(model.apply)
    first, again = np.asarray(call(params, ones, keys)), call(params, ones, keys)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_allclose(first[2], alone(params, ones, keys[2]), rtol=1e-5, atol=1e-5)
    assert np.abs(first[0] - first[1]).max() > 0.1
    np.testing.assert_array_equal(alone(params, ones, None), alone(params, ones, None))

    # Two dropout layers of one call draw two masks: a quarter of the inputs survives, not a half.
    kernel = {"kernel": jnp.eye(64), "bias": jnp.zeros(64)}
    eye = jax.tree.unflatten(jax.tree.structure(params), [kernel["bias"], kernel["kernel"]])
    np.testing.assert_array_equal(alone(eye, ones, None), ones)
    alive = np.asarray(call(eye, ones, jax.random.split(jax.random.key(4), 50))) > 0
    assert 0.22 < alive.mean() < 0.28


class WithBatchNorm(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.blocks = nnx.List([nnx.Sequential(nnx.Linear(4, 4, rngs=rngs), nnx.BatchNorm(4, rngs=rngs))])


class Counting(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.linear = nnx.Linear(4, 3, rngs=rngs)
        self.calls = nnx.Variable(jnp.zeros(()))


class LinenBatchNorm(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        return nn.Dense(3)(nn.BatchNorm(use_running_average=not train, name="norm")(x))


class LinenCache(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(x + self.variable("cache", "last", jnp.zeros, 4).value)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: from_nnx(WithBatchNorm), ["'blocks.0.layers.1' (BatchNorm)", "GroupNorm or LayerNorm"]),
        (lambda: from_nnx(lambda rngs: nnx.BatchNorm(4, rngs=rngs)), ["'itself' (BatchNorm)"]),
        (
            lambda: from_nnx(lambda r: nnx.SpectralNorm(nnx.Linear(4, 3, rngs=r), rngs=r)),
            ["(SpectralNorm)", "batch statistics"],
        ),
        (lambda: from_nnx(Counting), ["(Counting)", "'calls'", "Variable", "nnx.Param"]),
        (lambda: from_linen(LinenBatchNorm(), jnp.zeros(4)), ["'norm'", "GroupNorm or LayerNorm"]),
        (lambda: from_linen(LinenCache(), jnp.zeros(4)), ["'LinenCache'", "'cache'"]),
        (lambda: from_linen(nn.Dense(3), jnp.zeros((1, 4))), ["(1, 3)", "[num_classes]"]),
    ],
    ids=["nested", "root", "spectral", "counter", "linen", "linen-cache", "linen-batch-axis"],
)
def test_state_beside_the_parameters_is_rejected_in_one_sentence(make, words):
    with pytest.raises(ValueError, match=r"\.$") as caught:
        make()
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert "\n" not in message


class WithConstants(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.scale = jnp.arange(3.0)
        self.shift = np.ones(3, np.float32)
        self.linear = nnx.Linear(4, 3, rngs=rngs)

    def __call__(self, x):
        return self.linear(x) * self.scale + self.shift


def test_plain_arrays_of_a_module_are_constants_even_when_adapted_inside_jit():
    @jit
    def run(key):
        model = from_nnx(WithConstants)
        params = model.init(key)
        return params, model.apply(params, jnp.ones(4), None)

    params, out = jax.device_get(run(jax.random.key(0)))
    assert set(params) == {"linear"}
    np.testing.assert_allclose(out, params["linear"]["kernel"].sum(0) * np.arange(3.0) + 1, rtol=1e-5)


def test_layers_that_share_a_parameter_have_it_once():
    class Tied(nnx.Module):
        def __init__(self, rngs):
            self.first = nnx.Linear(4, 4, rngs=rngs)
            self.second = self.first

        def __call__(self, x):
            return self.second(self.first(x))

    model = from_nnx(Tied)
    params = model.init(jax.random.key(0))
    assert set(params) == {"first"}
    kernel = params["first"]["kernel"]
    np.testing.assert_allclose(model.apply(params, jnp.ones(4), None), jnp.ones(4) @ kernel @ kernel, rtol=1e-5)


# --- bad input


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: build("mlpp", num_classes=2, input_shape=(3,)), ["'mlpp'", "did you mean 'mlp'"]),
        (lambda: build("resnet50", num_classes=2, input_shape=(3,)), ["cnn, logistic, mlp, text"]),
        (lambda: build("mlp", num_classes=2, input_shape=(3,), hiden=(4,)), ["'hiden'", "did you mean 'hidden'"]),
        (lambda: build("mlp", num_classes=2), ["needs input_shape"]),
        (lambda: cnn(2, (30,)), ["input_shape is (30,)", "use mlp or logistic"]),
        (lambda: cnn(2, (3, 3)), ["4 pixels a side"]),
        (lambda: cnn(2, (8, 8), blocks=[ConvBlock(4, 9, padding="VALID")]), ["leaves nothing", "(8, 8)"]),
        (lambda: cnn(2, (8, 8), blocks=[ConvBlock(4, padding="same")]), ["padding is 'same'"]),
        (lambda: cnn(2, (8, 8), blocks=[ConvBlock(4, strides=0)]), ["below 1"]),
        (lambda: cnn(2, (8, 8), hidden=0), ["hidden=0 must be"]),
        (lambda: cnn(2, (8, 8), activation="tan"), ["activation is 'tan'", "tanh"]),
        (lambda: mlp(2, (4,), hidden=(0,)), ["hidden=0 must be"]),
        (lambda: mlp(2, (4,), activation="swish"), ["activation is 'swish'"]),
        (lambda: logistic(0, (4,)), ["num_classes=0 must be"]),
        (lambda: logistic(2, ()), ["input_shape is ()"]),
        (lambda: mlp(2, (4,)).apply(some_params(mlp(2, (4,))), jnp.ones((5, 4)), None), ["jax.vmap"]),
        (
            lambda: cnn(2, (8, 8)).apply(some_params(cnn(2, (8, 8))), jnp.ones((8, 8), jnp.uint8), None),
            ["uint8", "model text"],
        ),
        (lambda: text_mlp(2, (8, 8)), ["input_shape is (8, 8)", "(length,)"]),
        (lambda: text_mlp(2, (8,), context=9), ["context=9 must be from 1 to 8"]),
        (lambda: text_mlp(2, (8,), context=2, embedding=0), ["embedding=0 must be"]),
        (lambda: text_mlp(2, (8,), context=2, activation="tan"), ["activation is 'tan'"]),
        (
            lambda: text_mlp(2, (8,), context=2).apply(
                some_params(text_mlp(2, (8,), context=2)), jnp.ones(7, jnp.int32), None
            ),
            ["(7,)", "jax.vmap"],
        ),
        (
            lambda: text_mlp(2, (8,), context=2).apply(some_params(text_mlp(2, (8,), context=2)), jnp.ones(8), None),
            ["float32", "cast ids to int32"],
        ),
        (lambda: build("text", num_classes=2, input_shape=(8,), contxt=3), ["did you mean 'context'"]),
        (
            lambda: cross_entropy_loss(Model(lambda key: {}, lambda p, x, key: x))(
                {}, (jnp.ones((2, 3)), jnp.arange(2)), None
            ),
            ["ONE example", "jax.vmap"],
        ),
    ],
)
def test_bad_input_is_one_sentence_with_the_field_and_the_fix(call, words):
    with pytest.raises(ValueError, match=r"[.?…]$") as caught:
        call()
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert "\n" not in str(caught.value)
