"""An argument's old name is refused in one sentence that says the new one."""

import inspect
import re

import jax.numpy as jnp
import optax
import pytest

from dpjax import example_gradient, fixed_size_sampler, make_train, private_grad
from dpjax.federated import build_federated_averaging_process, fedavg
from dpjax.models import cross_entropy_loss, logistic

MODEL = logistic(num_classes=2, input_shape=(3,))
TRAIN = {
    "init_fn": lambda key: jnp.zeros(2),
    "learner": example_gradient(lambda w, x, key: jnp.sum(w * x)),
    "units": jnp.ones((4, 2)),
    "sampler": fixed_size_sampler(4, 2),
    "num_steps": 1,
    "make_optimizer": lambda h: optax.sgd(1.0),
}
PROCESS = {
    "model": MODEL,
    "learner": fedavg(cross_entropy_loss(MODEL), optax.sgd(0.1), num_steps=1),
    "server_optimizer": optax.sgd(1.0),
    "expected_clients": 4,
}
NOW = {
    make_train: {
        "contribution_fn": "learner=...",
        "init_unit_state": "learner=Solver(contribution_fn, init_unit_state=...)",
        "examples": "units=Population(units, examples=...)",
        "weights": "units=Population(units, weights=...)",
        "rule": "sum_factory=Summing(rule=...)",
        "aggregation": "sum_factory=Summing(aggregation=...)",
        "engine": "sum_factory=Summing(engine=Engine(...))",
        "microbatch_size": "sum_factory=Summing(engine=Engine(microbatch_size=...))",
        "mesh": "sum_factory=Summing(engine=Engine(mesh=...))",
        "adaptive": "noise=adaptive_clipping(...)",
        "make_privatizer": "noise=...",
        "evaluate": "evaluation=Evaluation(evaluate)",
        "evaluate_every": "evaluation=Evaluation(evaluate, every=...)",
        "evaluate_params": "evaluation=Evaluation(evaluate, params=...)",
    },
    build_federated_averaging_process: {
        "client_optimizer": "learner=fedavg(loss_fn, client_optimizer, num_steps=...)",
        "num_steps": "learner=fedavg(loss_fn, client_optimizer, num_steps=...)",
        "num_epochs": "learner=fedavg(loss_fn, client_optimizer, num_epochs=...)",
        "batch_size": "learner=fedavg(loss_fn, client_optimizer, num_steps=..., batch_size=...)",
        "loss_fn": "learner=fedavg(loss_fn, client_optimizer, num_steps=...)",
        "solver": "learner=..., a Solver such as scaffold(loss_fn, ...)",
        "rule": "sum_factory=Summing(rule=...)",
        "aggregation": "sum_factory=Summing(aggregation=...)",
        "microbatch_size": "sum_factory=Summing(engine=Engine(microbatch_size=...))",
    },
}
GIVEN = {make_train: TRAIN, build_federated_averaging_process: PROCESS}


@pytest.mark.parametrize(("function", "old"), [(function, old) for function, names in NOW.items() for old in names])
def test_an_old_name_is_told_the_new_spelling(function, old):
    function(**GIVEN[function])
    words = f"{function.__name__} has new spellings: {old}=... is now {NOW[function][old]}; write it so."
    for value in (None, "whatever"):
        with pytest.raises(TypeError, match=f"^{re.escape(words)}$"):
            function(**GIVEN[function], **{old: value})


def test_several_old_names_are_told_at_once_and_an_unknown_one_as_python_does():
    with pytest.raises(TypeError, match=r"rule=... is now .*, adaptive=... is now noise=adaptive_clipping"):
        make_train(**TRAIN, rule=None, adaptive=None)
    with pytest.raises(TypeError, match="unexpected keyword argument 'evalute'"):
        make_train(**TRAIN, evalute=None)


@pytest.mark.parametrize("function", NOW)
def test_the_signature_is_the_new_one(function):
    parameters = inspect.signature(function).parameters
    assert len(parameters) <= 9
    assert not set(parameters) & set(NOW[function])


def given(**more):
    return {"clip_norm": 1.0, "noise_multiplier": 1.0, "expected_batch_size": 4, **more}


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: private_grad(jnp.sum, **given(max_grad_norm=1.0)),
            "private_grad has names of its own: max_grad_norm=... is clip_norm=... here; write it so.",
        ),
        (lambda: private_grad(jnp.sum, **given(batch_size=8)), "batch_size=... is expected_batch_size=sampling rate"),
        (lambda: private_grad(jnp.sum, **given(num_microbatches=8)), "as every example is clipped by itself, here"),
        (
            lambda: make_train(**TRAIN, max_grad_norm=1.0),
            "max_grad_norm=... is train(HParams(clip_norm=...), key) here",
        ),
        (lambda: make_train(**TRAIN, epochs=1), "epochs=... is num_steps=epochs / sampling rate here"),
    ],
)
def test_another_library_s_name_is_answered_with_ours(call, words):
    with pytest.raises(TypeError, match=re.escape(words)):
        call()
