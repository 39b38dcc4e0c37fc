"""Where people stumble in Python, by name: what dpjax says of each, as JSON. Run by test_hints, without import hook."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dpjax import HParams, example_gradient, make_train, poisson_cohort, poisson_sampler, private_grad
from dpjax.federated import build_federated_averaging_process, fedavg
from dpjax.models import cross_entropy_loss, logistic

KEY = jax.random.key(0)
X, Y, CLASSES = np.ones((8, 3), np.float32), np.zeros(8, np.float32), np.zeros(8, np.int32)
MODEL = logistic(num_classes=2, input_shape=(3,))
TAKES_A_BATCH = "loss_fn takes a batch, and fails on ONE example (float32[3], float32[]: "


def squares(w, example, key):
    return (example[0] @ w - example[1]) ** 2


def by_run(loss_fn, data, key=KEY, init=lambda key: jnp.zeros(3)):
    run = make_train(
        init,
        example_gradient(loss_fn),
        data,
        sampler=poisson_sampler(8, 0.5, num_steps=1),
        num_steps=1,
        make_optimizer=lambda h: optax.sgd(h.learning_rate),
    )
    return jax.jit(run)(HParams(), key)


def by_grad(loss_fn, data, key=KEY, init=lambda key: jnp.zeros(3)):
    grad = private_grad(loss_fn, clip_norm=1.0, noise_multiplier=1.0, expected_batch_size=4)
    return grad(init(KEY), data, key)


def mean_over_rows(w, example, key):
    return jnp.mean(jnp.sum(example[0] * w, axis=1))


def mapped(w, example, key):
    return jnp.mean(jax.vmap(lambda x, y: (x @ w - y) ** 2)(*example))


def counted(w, example, key):
    return jnp.sum((example[0] @ w - example[1]) ** 2) / len(example[1])


ONE_COLUMN = "labels[:, 0]."
NO_KEY = "is not a JAX key; pass one made by jax.random.key(seed) or split."
CASES = {
    "rows on axis 0": (mean_over_rows, (X, Y), {}, TAKES_A_BATCH),
    "a vmap of its own": (mapped, (X, Y), {}, TAKES_A_BATCH),
    "divided by len": (counted, (X, Y), {}, TAKES_A_BATCH),
    "a vector": (lambda w, example, key: w * example[0], (X, Y), {}, "for ONE example, without a batch axis"),
    "a label of two axes": (squares, (X, Y[:, None]), {}, ONE_COLUMN),
    "a class of two axes": (cross_entropy_loss(MODEL), (X, CLASSES[:, None]), {"init": MODEL.init}, ONE_COLUMN),
    "a class of one-hot": (
        cross_entropy_loss(MODEL),
        (X, np.eye(2)[CLASSES]),
        {"init": MODEL.init},
        "give labels [n] of",
    ),
    "a class of floats": (cross_entropy_loss(MODEL), (X, Y), {"init": MODEL.init}, "such as labels.astype('int32')"),
    "a label for the key": (
        lambda w, x, y: (x @ w - y) ** 2,
        (X, Y),
        {},
        "take input and label as one example, (x, y)",
    ),
    "a seed": (squares, (X, Y), {"key": 0}, NO_KEY),
    "no key": (squares, (X, Y), {"key": None}, NO_KEY),
}


def broken(w, example, key):
    raise KeyError("gone")


def process(key):
    learner = fedavg(cross_entropy_loss(MODEL), optax.sgd(0.1), num_steps=1)
    made = build_federated_averaging_process(MODEL, learner, server_optimizer=optax.sgd(1.0), expected_clients=4)
    return made.initialize(key)


def units_under_jit():
    def draw(key):
        return poisson_cohort(key, (X, CLASSES), np.float32(0.5), capacity=8)[0].mask

    np.testing.assert_array_equal(jax.jit(draw)(KEY), draw(KEY))


def shapes_seen():
    seen = []

    def loss_fn(w, example, key):
        seen.append(jnp.shape(example[0]))
        return squares(w, example, key)

    by_grad(loss_fn, (X, Y))
    assert set(seen) == {(3,)}  # never tried on a batch


OTHERS = {
    "broken": lambda: by_grad(broken, (X, Y)),
    "a seed for a process": lambda: process(0),
    "no key for a process": lambda: process(None),
    "NumPy units under jit": units_under_jit,
    "a loss that holds is seen one example": shapes_seen,
}


def said(call, *arguments, **more):
    try:
        call(*arguments, **more)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


if __name__ == "__main__":
    answers = {
        f"{case}, {call.__name__}": said(call, loss_fn, data, **more)
        for case, (loss_fn, data, more, _) in CASES.items()
        for call in (by_run, by_grad)
    }
    print(json.dumps(answers | {name: said(call) for name, call in OTHERS.items()}))
