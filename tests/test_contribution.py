"""What a contribution reports: facts travel in fields, metrics are for diagnosis, and none of their names decides."""

import ast
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dpjax import (
    Cohort,
    HParams,
    PerUnit,
    Reported,
    Solver,
    Stateful,
    Summing,
    UnitData,
    clipped_sum,
    example_gradient,
    fixed_size_sampler,
    make_train,
)
from dpjax.contribution import GradientContribution
from dpjax.federated import adaptive_fedprox, dropouts, quantized, robust_aggregation, secure_aggregation

KEY = jax.random.key(0)
UNITS = jnp.linspace(-1, 1, 36).reshape(12, 3)
REPORTED = {"unit_state", "local_overflows", "uplink_bytes", "dropped", "aborted", "overflowed", "released", "message"}


@cache
def names_of_entries() -> tuple[str, ...]:
    """Every string that the code uses as a key: in a dict, a subscript, a comparison, or a call of get or pop."""
    nodes: list[ast.AST | None] = []
    for path in [*Path("dpjax").rglob("*.py"), *Path("experiments").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Dict):
                nodes += node.keys
            elif isinstance(node, ast.Subscript):
                nodes.append(node.slice)
            elif isinstance(node, ast.Compare):
                nodes += [node.left, *node.comparators]
            elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("get", "pop", "setdefault"):
                nodes += node.args
    strings = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return tuple(sorted({name for name in strings if len(name) < 40} | REPORTED))


def remembering(params, unit, key):
    """A unit that sends itself, and counts the rounds it took part in."""
    data, count = unit
    return data - params, Reported({"size": jnp.sum(data)}, unit_state=count + 1)


def chatty(names, first):
    """The same with every one of the names among its metrics, by turns as a number to add up and as one of the unit."""

    def contribution(params, unit, key):
        vector, report = remembering(params, unit, key)
        kinds = jnp.float32(7.0), PerUnit(jnp.float32(7.0))
        return vector, report._replace(metrics={name: kinds[(first + i) % 2] for i, name in enumerate(names)})

    return contribution


def trained(contribution, aggregation=None, noise_multiplier=0.7):
    train = make_train(
        lambda key: jnp.zeros(3),
        Solver(contribution, init_unit_state=lambda params: jnp.int32(0)),
        UNITS,
        sampler=fixed_size_sampler(12, 6),
        num_steps=3,
        make_optimizer=lambda h: optax.sgd(0.5),
        sum_factory=Summing(aggregation=aggregation),
    )
    state, history = jax.jit(train)(HParams(clip_norm=0.5, noise_multiplier=noise_multiplier), KEY)
    return jax.tree.map(np.asarray, (state.params, state.unit_states, state.clip_norm, state.optimizer_state)), history


@pytest.mark.parametrize(
    ("aggregation", "noise_multiplier", "every"),
    [
        (None, 0.7, 1),
        (secure_aggregation(threshold=2, masks=False, dropout_rate=0.3), 0.7, 20),
        (robust_aggregation("median"), 0.0, 20),
    ],
)
def test_no_name_of_a_metric_changes_state_noise_or_parameters(aggregation, noise_multiplier, every):
    assert len(names_of_entries()) > 300
    names = sorted({*names_of_entries()[::every], *REPORTED})
    silent, history = trained(remembering, aggregation, noise_multiplier)
    assert int(silent[1].sum()) > 5
    for first in (0, 1):
        talking, told = trained(chatty(names, first), aggregation, noise_multiplier)
        jax.tree.map(np.testing.assert_array_equal, silent, talking)
        # Nor is it taken for what the library counts itself.
        facts, seen = (h.report._replace(metrics={}) for h in (history, told))
        jax.tree.map(np.testing.assert_array_equal, facts, seen)


@pytest.mark.parametrize("engine", ["materialize", "microbatch"])
def test_fields_arrive_slot_by_slot_or_added_up_under_any_engine(engine):
    def contribution(params, unit, key):
        report = Reported({"mine": PerUnit(2 * unit), "unit_state": PerUnit(unit)}, unit_state={"seen": 3 * unit})
        return unit * jnp.ones(2), report._replace(uplink_bytes=jnp.float32(8), local_overflows=jnp.float32(1))

    units = jnp.array([1.0, jnp.nan, 3.0, 4.0, 5.0])
    cohort = Cohort(units, jnp.array([True, True, True, False, True]))
    out = jax.jit(clipped_sum(contribution, engine=engine, microbatch_size=2))(jnp.zeros(2), cohort, KEY, 1.0)
    assert out.accepted.tolist() == [True, False, True, False, True]
    assert out.unit_states["seen"].tolist() == [3, 0, 9, 0, 15]
    assert out.per_unit["mine"].tolist() == [2, 0, 6, 0, 10]
    assert out.per_unit["unit_state"].tolist() == [1, 0, 3, 0, 5]
    assert (float(out.uplink_bytes), float(out.local_overflows), out.messages) == (24, 3, None)


def test_the_one_pass_engine_hands_fields_over_too():
    def loss(params, unit, key):
        data, count = unit
        value = jnp.sum((params - data) ** 2)
        return value, Reported({"loss": value}, unit_state=count + 1)

    cohort = Cohort(Stateful(UNITS, jnp.arange(12)), jnp.arange(12) < 10)
    for size in (None, 4):
        gradient = GradientContribution(loss)
        one_pass = clipped_sum(gradient, engine="bookkeeping", microbatch_size=size)(jnp.zeros(3), cohort, KEY, 1.0)
        assert one_pass.unit_states.tolist() == [*range(1, 11), 0, 0]
        assert one_pass.accepted.tolist() == [True] * 10 + [False] * 2


def test_states_in_the_old_place_are_refused_with_the_new_one():
    def old(params, unit, key):
        return unit.unit - params, {"unit_state": PerUnit((unit.state + 1, jnp.bool_(True)))}

    with pytest.raises(ValueError, match=r"hands no unit_state over.*dpjax.Reported\(metrics, unit_state=new_state\)"):
        trained(old)


def test_what_is_no_report_is_refused():
    for wrong in (None, 3.0, (jnp.zeros(()),)):
        with pytest.raises(TypeError, match=r"beside its vector; return \(vector, a dict of metrics\)"):
            clipped_sum(lambda params, unit, key, wrong=wrong: (unit, wrong), engine="microbatch")(
                jnp.zeros(3), Cohort(UNITS, jnp.ones(12, bool)), KEY, 1.0
            )


def test_a_sum_that_does_not_say_whose_it_is_is_refused_where_that_counts():
    def silent(factory):
        def make(contribution_fn):
            inner = factory(contribution_fn)
            return lambda *given: inner(*given)._replace(accepted=None)

        return make

    for aggregation in (silent, lambda factory: dropouts(0.5)(silent(factory))):
        with pytest.raises(ValueError, match=r"whose contribution it holds \(ClippedSum.accepted\)"):
            trained(remembering, aggregation)


def test_a_metric_that_is_called_loss_is_not_what_clients_say_their_loss_is():
    def sent(loss_fn):
        solver = adaptive_fedprox(loss_fn, optax.sgd(0.1), num_steps=2)
        return solver.contribution_fn(solver.init(jnp.zeros(3)), UnitData(UNITS, jnp.ones(12, bool)), KEY)

    honest, _ = sent(lambda w, x, key: jnp.sum((w - x) ** 2))
    other, report = sent(lambda w, x, key: (jnp.sum((w - x) ** 2), {"loss": jnp.float32(0)}))
    jax.tree.map(np.testing.assert_array_equal, honest, other)
    assert float(report["loss"]) == 0  # the metric is theirs


def test_bytes_are_counted_once_whatever_metrics_are_called():
    def named(params, unit, key):
        return unit, {"uplink_bytes": jnp.float32(5)}

    _, report = quantized(named, 4)(jnp.zeros(3), jnp.ones(3), KEY)
    assert (float(report.uplink_bytes), float(report.metrics["uplink_bytes"])) == (6, 5)
    with pytest.raises(ValueError, match="compressed twice"):
        quantized(quantized(named, 4), 4)(jnp.zeros(3), jnp.ones(3), KEY)


def test_a_gradient_reports_what_its_loss_does():
    contribution = example_gradient(lambda w, x, key: (jnp.sum(w * x), {"seen": jnp.float32(1)}))
    assert set(contribution(jnp.zeros(3), jnp.ones(3), KEY)[1]) == {"loss", "seen"}
