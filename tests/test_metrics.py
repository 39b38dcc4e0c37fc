"""Metrics: against plain NumPy, for every batch size, under jit, vmap and grad."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dpjax.metrics import accuracy, evaluate, evaluate_units, map_rows, predicted, softmax_cross_entropy
from dpjax.models import cross_entropy_loss, logistic
from dpjax.models.objectives import _sums
from dpjax.types import Records


def apply_fn(params, inputs):
    return inputs @ params


def problem(rows: int, seed: int = 0):
    rng = np.random.default_rng(seed)  # NumPy: a JAX draw would be compiled for every shape
    params, inputs = rng.normal(size=(5, 3)).astype(np.float32), rng.normal(size=(rows, 5)).astype(np.float32)
    return jnp.asarray(params), jnp.asarray(inputs), jnp.asarray(rng.integers(0, 3, rows, dtype=np.int32))


def reference(params, inputs, labels):
    logits = np.asarray(inputs, np.float64) @ np.asarray(params, np.float64)
    log_likelihood = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    rows = np.arange(len(labels))
    return -log_likelihood[rows, labels].mean(), (logits.argmax(1) == labels).mean()


@pytest.mark.parametrize(("rows", "batch_size"), [(1, 4), (23, None), (23, 1), (23, 5), (20, 5), (23, 22), (23, 99)])
def test_every_row_counts_once_whatever_the_batch_size(rows, batch_size):
    params, inputs, labels = problem(rows)
    result = evaluate(apply_fn, params, inputs, labels, batch_size=batch_size)
    loss, right = reference(params, inputs, labels)
    np.testing.assert_allclose(result["loss"], loss, rtol=1e-5)
    np.testing.assert_allclose(result["accuracy"], right, rtol=1e-6)


def test_jit_vmap_and_grad_apply():
    params, inputs, labels = problem(11)
    lanes = jnp.stack([params, -params, 2 * params])

    @jax.jit
    def run(p):
        return evaluate(apply_fn, p, inputs, labels, batch_size=4)

    together = jax.jit(jax.vmap(run))(lanes)
    for lane, one in enumerate(lanes):
        for name, value in run(one).items():
            np.testing.assert_allclose(together[name][lane], value, rtol=1e-5)
    whole = jax.jit(jax.grad(lambda p: evaluate(apply_fn, p, inputs, labels)["loss"]))(params)
    batched = jax.jit(jax.grad(lambda p: run(p)["loss"]))(params)
    np.testing.assert_allclose(batched, whole, rtol=1e-4, atol=1e-6)


def test_cross_entropy_is_exact_and_finite_at_the_extremes():
    logits = jnp.array([[1e4, 0.0, -1e4], [0.0, 0.0, 0.0]])
    np.testing.assert_allclose(softmax_cross_entropy(logits, jnp.array([2, 1])), [2e4, np.log(3)], rtol=1e-6)
    assert softmax_cross_entropy(logits[0], jnp.array(0)).shape == ()


def test_accuracy_is_a_mean_over_all_axes():
    logits = jnp.array([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [1.0, 0.0]]])
    assert accuracy(logits, jnp.array([[0, 1], [1, 1]])) == 0.5


@pytest.mark.parametrize(("rows", "batch_size", "message"), [(0, None, "hold 0 rows"), (3, 0, "batch_size=0")])
def test_wrong_values_are_named(rows, batch_size, message):
    params, inputs, labels = problem(3)
    with pytest.raises(ValueError, match=message):
        evaluate(apply_fn, params, inputs[:rows], labels[:rows], batch_size=batch_size)


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("batch_size", [None, 2])
def test_a_model_that_diverged_is_right_about_nothing(broken, batch_size):
    params, inputs, labels = jnp.full((2, 3), broken), jnp.ones((5, 2)), jnp.array([0, 0, 0, 1, 2])
    result = evaluate(apply_fn, params, inputs, labels, batch_size=batch_size)
    assert (result["accuracy"], np.isnan(result["loss"])) == (0, True)
    assert accuracy(apply_fn(params, inputs), labels) == 0
    records = Records(jnp.arange(5)[None], jnp.ones((1, 5), bool))
    one = {"states": jnp.zeros(1)}
    for more in ({}, one):
        assert evaluate_units(apply_fn, lambda _: params, records, inputs, labels, **more) == 0
    model = logistic(num_classes=3, input_shape=(2,))
    spoilt = jax.tree.map(lambda x: jnp.full_like(x, broken), model.init(jax.random.key(0)))
    assert cross_entropy_loss(model)(spoilt, (jnp.ones(2), jnp.int32(0)), None)[1]["accuracy"] == 0
    assert _sums(apply_fn(params, inputs), labels, jnp.ones(5, bool)).correct == 0


def test_one_broken_row_costs_that_row_alone_and_a_masked_class_costs_nothing():
    logits = jnp.array([[1.0, 0.0], [jnp.nan, 0.0], [0.0, jnp.inf], [-jnp.inf, 2.0]])
    assert predicted(logits).tolist() == [0, -1, -1, 1]
    assert accuracy(logits, jnp.array([0, 0, 1, 1])) == 0.5


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 8])
@pytest.mark.parametrize("batch_size", [1, 3, 8, 100])
def test_rows_are_mapped_in_their_order_whatever_the_batches(rows, batch_size):
    inputs = (jnp.arange(rows), jnp.arange(2.0 * rows).reshape(rows, 2))
    found = map_rows(lambda row: {"sum": row[0] + row[1].sum().astype(int)}, inputs, batch_size=batch_size)
    np.testing.assert_array_equal(found["sum"], np.asarray(inputs[0]) + np.asarray(inputs[1]).sum(1))


def test_rows_are_mapped_by_one_program():
    weights = jnp.ones((3, 4))
    mapped = jax.jit(lambda rows: map_rows(lambda row: row @ weights, rows, batch_size=4))
    assert mapped.lower(jnp.ones((10, 3))).as_text().count("dot_general") == 1
