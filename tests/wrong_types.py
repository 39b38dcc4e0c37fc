"""Every public constructor, tried by type and range, with no checker of types in between: what a user's script sees.

Run by ``test_wrong_types.py`` as a process of its own, as the tests' import hook would take wrong types first. Prints
what was accepted, or refused otherwise than by one sentence that names the argument.
"""

import inspect
import math
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import dpjax
from dpjax import accounting, federated, models
from dpjax.accounting import Cyclic
from dpjax.auditing.bounds import epsilon_from_guesses
from dpjax.optimizers import scale_by_corrected_adam, warmed_up

# What is wrong for an argument of each kind; "?" after a kind: None is allowed.
NAN = math.nan
COUNT = [1.5, 3.0, 0, -1, True, "3", [3], (), NAN, math.inf, np.ones(2, int), jnp.float32(2), {}, None]
REAL = [True, "0.1", [0.1], np.ones(2), NAN, -1.0, np.float32(-1), jnp.float32(NAN), 1j, {}, object, None]
BAD: dict[str, list[Any]] = {
    "count": COUNT,
    "count from 0": [x for x in COUNT if not (type(x) is int and x == 0)],
    "≥ 0": [*REAL, math.inf],
    "> 0": [*REAL, math.inf, 0],
    "> 0 or inf": [*REAL, 0],
    "rate": [*REAL, 0, 1.5, math.inf],
    "share": [*REAL, 1.5, math.inf],
    "word": ["no such", 3, None, [], 0.5],
    "object": ["flat", 3, 0.5, [], object, True, None],
    "function": ["f", 3, 0.5, [], (), None],
    "key": [0, "0", None, 1.5, [0, 0], jax.random.PRNGKey(0)],
    "units": [1.0, None, "abc", [1.0, 2.0], [[1.0], [2.0]], (), {}, jnp.float32(1), np.array(["a"] * 20), object,
              (np.ones(20), np.ones(3)), ["a"], {"x": np.ones(20), "y": 3}],
    "mask": [np.full(20, 2), np.ones(20), [True] * 20, True, np.ones(3, bool), np.ones((20, 1), bool), "mask", 1],
    "factors": [np.ones(3), np.ones((20, 1)), np.full(20, 2), 1.0, "weights", object],
    "p_k": [np.full(3, 1 / 3), np.full(20, NAN), np.full(20, 0.5), -np.ones(20), 1.0, "weights", object, ["a"] * 20],
}  # fmt: skip

BAD["labels"] = [[0, 1], "abc", None, 3, np.ones(20), np.full(20, NAN), np.ones((4, 5), int), np.array(3), {}, object]
BAD["widths"] = ["64", 64, None, np.array([64]), (0,), (-1,), (1.5,), ("8",), (None,), (NAN,), (True,), {}, object]
BAD["hparams"] = [None, 3, {}, {"clip_norm": 1.0}, (0.1, 1.0, 0.0), "sgd", object, dpjax.HParams]
BAD["noise"] = [None, 1.0, "none", object, dpjax.AdaptiveClipping, dpjax.adaptive_clipping, lambda stddev, key: key]
BAD["population"] = [*BAD["units"], np.ones(21)]
UNITS = np.ones((20, 2), np.float32)
KEY = jax.random.key(0)
LOSS = lambda params, x, key: jnp.sum((params - x) ** 2)  # noqa: E731
POISSON = dpjax.poisson_sampler(20, 0.5, num_steps=2)
CYCLE = accounting.Participation(4, 2, 2)
RUN: dict[str, Any] = {"unit": "example", "adjacency": "zero_out"}
MECHANISM = dpjax.Mechanism(sampling="poisson", sampling_rate=0.1, noise_multiplier=1.0, num_steps=2, **RUN)
LOGISTIC = models.logistic(num_classes=2, input_shape=(3,))


def train(**arguments: Any) -> Any:
    hparams = dpjax.HParams(
        learning_rate=arguments.pop("learning_rate"),
        clip_norm=arguments.pop("clip_norm"),
        noise_multiplier=arguments.pop("noise_multiplier"),
    )
    key = arguments.pop("key")
    run = dpjax.make_train(lambda key: jnp.zeros(2), **{"learner": dpjax.example_gradient(LOSS)} | arguments)
    return jax.eval_shape(lambda: run(hparams, key))


def one_run(**options: Any) -> Any:
    """``make_train`` with one of its objects made of these."""
    given = {"units": UNITS, "sampler": POISSON, "num_steps": 2, "make_optimizer": lambda h: SGD}
    hparams = {"learning_rate": 0.1, "clip_norm": 1.0, "noise_multiplier": 0.5, "key": KEY}
    return train(**given | options, **hparams)


def one_hparams(hparams: Any) -> Any:
    run = dpjax.make_train(
        lambda key: jnp.zeros(2), dpjax.example_gradient(LOSS), UNITS, sampler=POISSON, num_steps=2,
        make_optimizer=lambda h: SGD,
    )  # fmt: skip
    return jax.eval_shape(lambda: run(hparams, KEY))


def one_noise(noise: Any) -> Any:
    return one_run(noise=noise)


def one_evaluation(**fields: Any) -> Any:
    return one_run(evaluation=dpjax.Evaluation(**fields))


def one_population(**fields: Any) -> Any:
    return one_run(units=dpjax.Population(UNITS, **fields))


def one_solver(**fields: Any) -> Any:
    return one_run(learner=dpjax.Solver(**fields))


def one_factory(engine: Any, **fields: Any) -> Any:
    return one_run(sum_factory=dpjax.Summing(**fields, engine=engine))


def one_engine(engine: Any, **fields: Any) -> Any:
    return one_run(sum_factory=dpjax.Summing(engine=dpjax.Engine(engine, **fields)))


def one_optimizer(optimizer: Any) -> Any:
    return one_run(make_optimizer=lambda h: optimizer)


def one_gradient(mask: Any, batch: Any, **arguments: Any) -> Any:
    grad = dpjax.private_grad(LOSS, **arguments)
    return jax.eval_shape(lambda: grad(jnp.zeros(2), batch, KEY, mask))


def one_sum(units: Any, mask: Any, weights: Any, clip_norm: Any, **arguments: Any) -> Any:
    bounded_sum = dpjax.clipped_sum(dpjax.example_gradient(LOSS), **arguments)
    return jax.eval_shape(lambda: bounded_sum(jnp.zeros(2), dpjax.Cohort(units, mask, weights), KEY, clip_norm))


def by_hand(target_quantile: Any, learning_rate: Any, count_stddev: Any) -> Any:
    return one_run(noise=dpjax.AdaptiveClipping(target_quantile, learning_rate, count_stddev))


def one_round(mask: Any, **arguments: Any) -> Any:
    process = federated.build_federated_averaging_process(**arguments)
    state = jax.eval_shape(process.initialize, KEY)
    rows = dpjax.UnitData((jnp.ones((20, 5, 3)), jnp.ones((20, 5), jnp.int32)), jnp.ones((20, 5), bool))
    return jax.eval_shape(lambda state: process.next(state, dpjax.Cohort(rows, mask)), state)


SGD = optax.sgd(0.1)
GOOD_MASK = np.ones(20, bool)
FEDAVG = federated.fedavg(models.cross_entropy_loss(LOGISTIC), SGD, num_steps=2)
ENGINE = {"rule": (None, "object?"), "engine": ("auto", "word"), "microbatch_size": (None, "count?")}
LABELS = np.arange(20) % 2
DEALT = {"num_clients": (2, "count"), "seed": (0, "count from 0")}
CASES: list[tuple[Callable[..., Any], dict[str, tuple[Any, str]]]] = [
    (federated.iid_partition, {"num_examples": (20, "count from 0"), **DEALT}),
    (federated.quantity_partition, {
        "num_examples": (20, "count from 0"), "alpha": (1.0, "> 0"), "min_records": (1, "count from 0"), **DEALT}),
    (federated.dirichlet_partition, {
        "labels": (LABELS, "labels"), "alpha": (1.0, "> 0"), "min_records": (1, "count from 0"), **DEALT}),
    (federated.shard_partition, {"labels": (LABELS, "labels"), "shards_per_client": (1, "count"), **DEALT}),
    (federated.sampled_partition, {
        "labels": (LABELS, "labels"), "alpha": (1.0, "> 0 or inf"), "records_per_client": (2, "count"), **DEALT}),
    (federated.natural_partition, {
        "owners": (LABELS, "labels"), "min_records": (1, "count"), "max_records": (None, "count?"),
        "seed": (0, "count from 0")}),
    (federated.distributed_noise, {
        "kind": ("skellam", "word"), "dimension": (5, "count"), "slots": (6, "count"), "threshold": (3, "count"),
        "colluding": (0, "count from 0")}),
    (dpjax.poisson_sampler, {
        "population": (20, "count"), "sampling_rate": (0.5, "rate"), "num_steps": (2, "count"),
        "epsilon": (1.0, "> 0 or inf"), "delta": (1e-5, "rate"), "capacity": (None, "count?"),
        "multiple_of": (1, "count")}),
    *((f, {"population": (20, "count"), "cohort_size": (4, "count")})
      for f in (dpjax.fixed_size_sampler, dpjax.shuffled_sampler, dpjax.cyclic_sampler)),
    (dpjax.poisson_cohort, {
        "key": (KEY, "key"), "units": (UNITS, "units"), "sampling_rate": (0.5, "rate"), "capacity": (9, "count")}),
    (dpjax.fixed_size_cohort, {"key": (KEY, "key"), "units": (UNITS, "units"), "size": (4, "count")}),
    *((f, {"key": (KEY, "key"), "units": (UNITS, "units"), "step": (0, "count from 0"), "size": (4, "count")})
      for f in (dpjax.shuffled_cohort, dpjax.cyclic_cohort)),
    (dpjax.draw_cohort, {
        "sampler": (POISSON, "object"), "key": (KEY, "key"), "step": (0, "count from 0"),
        "units": (UNITS, "population")}),
    (dpjax.Mechanism, {
        "unit": ("example", "word"), "adjacency": ("zero_out", "word"), "sampling": ("poisson", "word"),
        "sampling_rate": (0.1, "rate"), "noise_multiplier": (1.0, "≥ 0"), "num_steps": (2, "count"),
        "population": (None, "count?"), "overflow_probability": (0.0, "share"), "factorization": (None, "object?"),
        "noise": (None, "object?"), "records_per_unit": (1, "count"), "abort_probability": (0.0, "share")}),
    (lambda sampler, **rest: dpjax.Mechanism.from_sampler(sampler, **RUN, **rest), {
        "sampler": (POISSON, "object"), "num_steps": (2, "count"), "noise_multiplier": (1.0, "≥ 0"),
        "factorization": (None, "object?"), "noise": (None, "object?"), "records_per_unit": (1, "count")}),
    (dpjax.epsilon, {"mechanism": (MECHANISM, "object"), "delta": (1e-5, "rate"), "accountant": ("rdp", "word")}),
    (dpjax.calibrate_noise, {
        "mechanism": (MECHANISM, "object"), "epsilon": (50.0, "> 0 or inf"), "delta": (1e-5, "rate"),
        "accountant": ("rdp", "word")}),
    (accounting.Participation, dict.fromkeys(("num_steps", "max_participations", "min_separation"), (4, "count"))),
    (accounting.banded_toeplitz, {"participation": (CYCLE, "object"), "bands": (2, "count")}),
    (accounting.buffered_toeplitz, {
        "participation": (CYCLE, "object"), "buffers": (1, "count"), "objective": ("mean", "word")}),
    (accounting.shuffle_epsilon_lower_bound, {
        "noise_multiplier": (1.0, "> 0"), "num_steps_per_epoch": (10, "count"), "delta": (1e-5, "rate")}),
    (epsilon_from_guesses, {
        "num_canaries": (9, "count"), "num_guesses": (5, "count"), "num_right": (4, "count from 0"),
        "confidence": (0.95, "rate")}),
    (partial(federated.quantized, dpjax.example_gradient(LOSS)), {"bits": (2, "count")}),
    *((partial(f, dpjax.example_gradient(LOSS)), {"fraction": (0.5, "rate")})
      for f in (federated.top_k, federated.random_k)),
    (partial(federated.count_sketch, dpjax.example_gradient(LOSS)), {
        "rows": (2, "count"), "columns": (3, "count"), "key": (KEY, "key")}),
    (scale_by_corrected_adam, {
        "noise_stddev": (0.1, "≥ 0"), "b1": (0.9, "share"), "b2": (0.9, "share"), "floor": (1e-8, "> 0")}),
    (partial(warmed_up, 0.1), {
        "warmup_steps": (1, "count from 0"), "num_steps": (2, "count"), "decay": ("none", "word")}),
    (accounting.tree_aggregation, {"participation": (CYCLE, "object")}),
    (dpjax.noise_stddev, {"noise_multiplier": (1.0, "≥ 0"), "clip_norm": (1.0, "> 0 or inf, or 0")}),
    (dpjax.gaussian_privatizer, {"stddev": (1.0, "≥ 0, each"), "key": (KEY, "key")}),
    (dpjax.adaptive_clipping, {
        "target_quantile": (0.5, "share"), "learning_rate": (0.2, "> 0"), "count_stddev": (None, "> 0?")}),
    (by_hand, {"target_quantile": (0.5, "share"), "learning_rate": (0.2, "> 0"), "count_stddev": (None, "> 0?")}),
    (dpjax.automatic_clipping, {"stability": (0.01, "> 0")}),
    (dpjax.group_clipping, {"groups": (str, "function")}),
    (dpjax.parameter_ema, {"decay": (0.9, "share")}),
    (dpjax.example_gradient, {
        "loss_fn": (LOSS, "function"), "augment": (lambda x, key: x, "function?"), "num_augmentations": (1, "count")}),
    (dpjax.user_gradient, {
        "loss_fn": (LOSS, "function"), "augment": (lambda x, key: x, "function?"), "num_augmentations": (1, "count")}),
    (dpjax.client_delta, {
        "loss_fn": (LOSS, "function"), "local_optimizer": (SGD, "object"), "num_steps": (2, "count"),
        "batch_size": (None, "count?"), "proximal": (0.0, "≥ 0"), "straggler_rate": (0.0, "share"),
        "effective_steps": (None, "> 0?")}),
    (dpjax.private_client_delta, {
        "loss_fn": (LOSS, "function"), "local_optimizer": (SGD, "object"), "num_steps": (2, "count"),
        "sampler": (POISSON, "object"), "clip_norm": (1.0, "> 0 or inf"), "noise_multiplier": (1.0, "≥ 0"),
        "rule": (None, "object?")}),
    (one_sum, {
        "units": (UNITS, "population"), "mask": (GOOD_MASK, "mask"), "weights": (None, "factors?"),
        "clip_norm": (1.0, "> 0 or inf"), **ENGINE, "memory_budget": (None, "> 0?"), "mesh": (None, "object?")}),
    (one_gradient, {
        "batch": (UNITS, "units"), "mask": (GOOD_MASK, "mask"), "clip_norm": (1.0, "> 0 or inf"),
        "noise_multiplier": (0.5, "≥ 0"), "expected_batch_size": (9.0, "> 0"), **ENGINE}),
    (models.mlp, {
        "num_classes": (2, "count"), "input_shape": ((3,), "widths"), "hidden": ((4,), "widths")}),
    (train, {
        "learning_rate": (0.1, "≥ 0"), "num_steps": (2, "count"),
        "units": (UNITS, "population"), "sampler": (POISSON, "object"),
        "make_optimizer": (lambda h: SGD, "function"), "learner": (dpjax.example_gradient(LOSS), "function"),
        "sum_factory": (dpjax.clipped_sum, "function"), "noise": (dpjax.gaussian_privatizer, "function"),
        "evaluation": (None, "object?"),
        "key": (KEY, "key"), "clip_norm": (1.0, "> 0 or inf"), "noise_multiplier": (0.5, "≥ 0")}),
    (one_evaluation, {
        "evaluate": (lambda params: params, "function"), "every": (None, "count?"), "params": (None, "function?")}),
    (one_population, {"weights": (np.full(20, 0.05), "p_k?")}),
    (one_solver, {
        "contribution_fn": (dpjax.example_gradient(LOSS), "function"), "init": (lambda params: params, "function"),
        "wrap_optimizer": (lambda optimizer: optimizer, "function"), "init_unit_state": (None, "function?"),
        "model_of": (lambda carried: carried, "function"), "message_like": (lambda carried: carried, "function")}),
    (one_factory, {
        "rule": (dpjax.flat_clipping(), "object"), "aggregation": (None, "function?"),
        "engine": (dpjax.Engine(), "object")}),
    (one_engine, {
        "engine": ("auto", "word"), "microbatch_size": (None, "count?"), "memory_budget": (None, "> 0?"),
        "mesh": (None, "object?")}),
    (one_hparams, {"hparams": (dpjax.HParams(), "hparams")}),
    (one_noise, {"noise": (dpjax.gaussian_privatizer, "noise")}),
    (one_optimizer, {"optimizer": (SGD, "object")}),
    (one_round, {
        "model": (LOGISTIC, "object"), "learner": (FEDAVG, "function"), "server_optimizer": (SGD, "object"),
        "expected_clients": (9.0, "> 0"), "clip_norm": (1.0, "> 0 or inf"), "noise_multiplier": (0.5, "≥ 0"),
        "sum_factory": (dpjax.clipped_sum, "function"), "noise": (dpjax.gaussian_privatizer, "function"),
        "num_clients": (None, "count?"), "mask": (GOOD_MASK, "mask")}),
]  # fmt: skip


def complaint(function: Callable[..., Any], arguments: dict[str, Any], name: str) -> str | None:
    """What is wrong with how it was refused; None where it was refused well."""
    try:
        function(**arguments)
    except (ValueError, TypeError) as error:
        said, frame = str(error), error.__traceback__
        while frame is not None and frame.tb_next is not None:
            frame = frame.tb_next
        home = frame.tb_frame.f_code.co_filename if frame is not None else ""
        if "/dpjax/" not in home or "\n" in said or len(said) > 400 or name not in said.replace("population", name):
            return f"{type(error).__name__} of {home.rpartition('/')[2]}: {said[:150]!r}"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:150]!r}"
    else:
        return "was taken"
    return None


def main() -> int:
    tried = wrong = 0
    counts: dict[str, Any] = {"num_steps": np.int32(2), "population": jnp.int32(10)}  # are numbers like any other
    walks = [dpjax.Mechanism(sampling="cyclic", sampling_rate=0.5, noise_multiplier=1.0, **counts, **RUN)]
    walks += [dpjax.Mechanism(sampling=Cyclic(0.5, 10), noise_multiplier=1.0, num_steps=2, **RUN)]
    assert len(set(walks)) == 1
    for function, arguments in CASES:
        good = {name: value for name, (value, _) in arguments.items()}
        function(**good)
        title = getattr(function, "__name__", "")
        title = "Mechanism.from_sampler" if title == "<lambda>" else title
        for name, (_, kind) in arguments.items():
            optional, kind = kind.endswith("?"), kind.removesuffix("?")
            each, kind = kind.endswith(", each"), kind.removesuffix(", each")
            zero_too, kind = kind.endswith(", or 0"), kind.removesuffix(", or 0")
            for value in BAD[kind]:
                if (optional and value is None) or (zero_too and type(value) is int and value == 0):
                    continue
                if each and isinstance(value, list):
                    continue
                tried += 1
                if said := complaint(function, good | {name: value}, name):
                    wrong += 1
                    shown = " ".join(repr(value).split())[:60]
                    print(f"{title}({name}={shown}) {said}")
    print(f"{tried} tried, {wrong} not refused in one sentence")
    return min(wrong, 1)


if __name__ == "__main__":
    assert "beartype" not in str(inspect.getclosurevars(dpjax.poisson_sampler))
    sys.exit(main())
