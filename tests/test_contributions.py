"""What a unit sends: gradients of examples and users, deltas of clients."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dpjax import Cohort, Records, UnitData, client_delta, clipped_sum, example_gradient, user_gradient
from dpjax.contributions import clients, gather_records
from dpjax.contributions.losses import keys_of_records

KEY = jax.random.key(0)


def loss_fn(params, example, key):
    x, y = example
    loss = jnp.square(jnp.tanh(x @ params["w"]) - y).sum()
    return loss, {"size": jnp.abs(x).sum()}


PARAMS = {"w": jax.random.normal(jax.random.key(1), (3, 2))}
X = jax.random.normal(jax.random.key(2), (6, 3))
Y = jax.random.normal(jax.random.key(3), (6, 2))


def close(a, b, rtol=1e-6):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=1e-7), a, b)


def test_a_user_with_one_example_equals_the_example():
    example, _ = example_gradient(loss_fn)(PARAMS, (X[0], Y[0]), KEY)
    alone = UnitData((X[:1], Y[:1]), jnp.ones(1, bool))
    padded = UnitData((X[:4], Y[:4]), jnp.arange(4) < 1)
    for unit in (alone, padded):
        user, metrics = user_gradient(loss_fn)(PARAMS, unit, KEY)
        close(user, example)
        assert float(metrics["size"]) == pytest.approx(float(jnp.abs(X[0]).sum()), rel=1e-6)


def test_a_user_sends_the_mean_of_their_gradients():
    unit = UnitData((X, Y), jnp.array([True, False, True, True, False, False]))
    user, _ = user_gradient(loss_fn)(PARAMS, unit, KEY)
    own = [example_gradient(loss_fn)(PARAMS, (X[i], Y[i]), KEY)[0]["w"] for i in (0, 2, 3)]
    close(user["w"], sum(own) / 3)


decaying_client = partial(client_delta, local_optimizer=optax.adamw(0.1, weight_decay=0.5), num_steps=2)


@pytest.mark.parametrize("make", [user_gradient, decaying_client])
def test_a_unit_without_records_sends_zero(make):
    with jax.numpy_dtype_promotion("standard"):  # optax counts in int32
        vector, _ = make(loss_fn)(PARAMS, UnitData((X, Y), jnp.zeros(6, bool)), KEY)
    assert all(float(jnp.abs(x).max()) == 0 for x in jax.tree.leaves(vector))


def test_a_client_step_on_all_records_is_local_gradient_descent():
    unit = UnitData((X, Y), jnp.arange(6) < 5)
    delta, _ = client_delta(loss_fn, optax.sgd(0.1), num_steps=3)(PARAMS, unit, KEY)
    local = PARAMS
    for _ in range(3):
        gradient, _ = user_gradient(loss_fn)(local, unit, KEY)
        local = jax.tree.map(lambda p, g: p - 0.1 * g, local, gradient)
    close(delta, jax.tree.map(jnp.subtract, PARAMS, local), 1e-5)


def test_one_local_step_with_unit_rate_is_the_user_gradient():
    """FedAvg with one full step is FedSGD."""
    unit = UnitData((X, Y), jnp.arange(6) < 4)
    delta, _ = client_delta(loss_fn, optax.sgd(1.0), num_steps=1)(PARAMS, unit, KEY)
    close(delta, user_gradient(loss_fn)(PARAMS, unit, KEY)[0], 1e-5)


def test_local_minibatches_visit_each_record_once_an_epoch():
    """With a linear loss the delta adds up what was visited."""
    identity = jnp.eye(6)
    unit = UnitData((identity,), jnp.arange(6) < 4)
    fun = client_delta(lambda p, e, k: p @ e[0], optax.sgd(1.0), num_steps=2, batch_size=2)
    delta, _ = fun(jnp.zeros(6), unit, KEY)
    np.testing.assert_allclose(delta, [0.5, 0.5, 0.5, 0.5, 0, 0], atol=1e-7)


def test_a_client_with_fewer_records_than_a_batch_uses_each_once():
    unit = UnitData((jnp.eye(6),), jnp.arange(6) < 2)
    fun = client_delta(lambda p, e, k: p @ e[0], optax.sgd(1.0), num_steps=1, batch_size=4)
    np.testing.assert_allclose(fun(jnp.zeros(6), unit, KEY)[0], [0.5, 0.5, 0, 0, 0, 0], atol=1e-7)


@pytest.mark.parametrize("steps", [{"num_steps": 4}, {"num_epochs": 2}])
def test_batches_gathered_ahead_are_those_of_the_steps(monkeypatch, steps):
    """Whether they fit a core's cache changes no number, but it does change the program."""
    unit = UnitData((X, Y), jnp.arange(6) < 5)
    ahead, later = (client_delta(loss_fn, optax.sgd(0.3), batch_size=2, **steps) for _ in range(2))
    delta, program = ahead(PARAMS, unit, KEY), str(jax.make_jaxpr(ahead)(PARAMS, unit, KEY))
    monkeypatch.setattr(clients, "_AHEAD", 0)
    close(later(PARAMS, unit, KEY), delta)
    assert str(jax.make_jaxpr(later)(PARAMS, unit, KEY)) != program


def test_another_units_row_is_never_seen_through_padding():
    """Padding indexes row 0; its NaN must not reach a client that does not own it."""
    poisoned = X.at[0].set(jnp.nan)
    units = Records(jnp.array([[1, 2, 0], [0, 3, 4]]), jnp.array([[True, True, False], [True, True, True]]))
    fun = clipped_sum(gather_records(user_gradient(loss_fn), (poisoned, Y)))
    out = fun(PARAMS, Cohort(units, jnp.ones(2, bool)), KEY, 1.0)
    assert int(out.num_rejected) == 1
    assert bool(jnp.isfinite(out.total["w"]).all())
    assert float(out.norms[0]) > 0


def test_gathering_equals_handing_the_rows_over():
    units = Records(jnp.array([[4, 1, 0]]), jnp.array([[True, True, False]]))
    gathered, _ = gather_records(user_gradient(loss_fn), (X, Y))(PARAMS, jax.tree.map(lambda x: x[0], units), KEY)
    direct, _ = user_gradient(loss_fn)(
        PARAMS, UnitData((X[jnp.array([4, 1])], Y[jnp.array([4, 1])]), jnp.ones(2, bool)), KEY
    )
    close(gathered, direct)


def test_a_loss_with_a_batch_axis_is_refused():
    with pytest.raises(TypeError, match=r"loss_fn returned shape \(2,\)"):
        example_gradient(lambda p, e, k: e[0] @ p["w"])(PARAMS, (X[0], Y[0]), KEY)


@pytest.mark.parametrize(("name", "value"), [("num_steps", 0), ("batch_size", 0)])
def test_bad_local_training_is_named(name, value):
    with pytest.raises(ValueError, match=f"{name}={value}"):
        client_delta(loss_fn, optax.sgd(0.1), **{"num_steps": 1, name: value})


# ---- augmentation multiplicity ------------------------------------------------------------------------------------


def jitter(example, key):
    x, y = example
    return x + 0.3 * jax.random.normal(key, x.shape), y


def test_augmented_copies_are_averaged():
    augmented, metrics = example_gradient(loss_fn, augment=jitter, num_augmentations=4)(PARAMS, (X[0], Y[0]), KEY)
    single = example_gradient(loss_fn, augment=jitter)
    copies = [single(PARAMS, (X[0], Y[0]), key) for key in jax.random.split(KEY, 4)]
    close(augmented["w"], sum(vector["w"] for vector, _ in copies) / 4, 1e-5)
    for name in ("loss", "size"):
        assert float(metrics[name]) == pytest.approx(float(sum(m[name] for _, m in copies) / 4), rel=1e-5)
    assert len({float(m["loss"]) for _, m in copies}) == 4  # else this could not fail


def test_one_copy_is_augmented_once_with_a_key_that_the_loss_does_not_have():
    seen = []

    def spy(params, example, key):
        seen.append(key)
        return loss_fn(params, example, key)

    vector, _ = example_gradient(spy, augment=lambda e, key: (seen.append(key), jitter(e, key))[1])(
        PARAMS, (X[0], Y[0]), KEY
    )
    augment_key, loss_key = seen
    assert not np.array_equal(jax.random.key_data(augment_key), jax.random.key_data(loss_key))
    close(vector, example_gradient(loss_fn)(PARAMS, jitter((X[0], Y[0]), augment_key), KEY)[0])


def test_augmentation_happens_before_clipping_and_leaves_the_sensitivity_alone():
    """Copies that point every which way average out before the bound; and no number of copies beats it."""

    def flip(example, key):
        x, y = example
        return jnp.where(jax.random.bernoulli(key), x, -x), y

    def linear(params, example, key):
        return 100.0 * jnp.sum(params["w"] * example[0][:, None])

    cohort = Cohort((X, Y), jnp.arange(6) < 1)
    for copies in (1, 7):
        fun = clipped_sum(example_gradient(linear, augment=flip, num_augmentations=copies))
        out = fun(PARAMS, cohort, KEY, 0.5)
        assert float(jnp.linalg.norm(out.total["w"])) == pytest.approx(0.5, rel=1e-5)  # an odd number cannot cancel
    plain = clipped_sum(example_gradient(linear))(PARAMS, cohort, KEY, 0.5).norms[0]
    assert float(out.norms[0]) < 0.9 * float(plain)


def test_a_users_records_are_augmented_each_by_itself():
    unit = UnitData((X[:3], Y[:3]), jnp.array([True, True, False]))
    vector, _ = user_gradient(loss_fn, augment=jitter, num_augmentations=2)(PARAMS, unit, KEY)
    own = example_gradient(loss_fn, augment=jitter, num_augmentations=2)
    keys = keys_of_records(KEY, unit.mask)
    assert len(np.unique(jax.random.key_data(keys[:2]), axis=0)) == 2
    close(vector["w"], sum(own(PARAMS, (X[i], Y[i]), keys[i])[0]["w"] for i in range(2)) / 2, 1e-5)


@pytest.mark.parametrize("make", [example_gradient, user_gradient])
@pytest.mark.parametrize(("copies", "augment"), [(0, jitter), (-1, None), (2, None)])
def test_bad_numbers_of_copies_are_named(make, copies, augment):
    with pytest.raises(ValueError, match=f"num_augmentations={copies}"):
        make(loss_fn, augment=augment, num_augmentations=copies)


@pytest.mark.parametrize("make", [user_gradient, partial(client_delta, local_optimizer=optax.sgd(0.1), num_steps=1)])
def test_units_without_records_are_refused_in_words(make):
    contribution = make(lambda w, x, key: w * x)
    with pytest.raises(TypeError, match=r"records are needed; give the cohort UnitData\(examples, mask\)"):
        clipped_sum(contribution)(jnp.ones(()), Cohort(jnp.ones(3), jnp.ones(3, bool)), jax.random.key(0), 1.0)
