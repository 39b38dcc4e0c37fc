"""The one-pass engine beyond exactness (tests/test_exactness.py): its plan, its options, and how it composes."""

import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dpjax import (
    Cohort,
    Engine,
    HParams,
    Summing,
    client_delta,
    clipped_sum,
    example_gradient,
    make_train,
    poisson_sampler,
)
from dpjax.clipping import autotune, explain, per_layer_clipping
from dpjax.clipping.one_pass import planner
from dpjax.clipping.one_pass.factors import Axes, Size, orient
from dpjax.clipping.one_pass.planner import strategy_costs

KEY = jax.random.key(0)
WIDTH, LENGTH, WORDS = 4, 6, 11


def loss_fn(params, tokens, key):
    """Every way of being served: embedding tied with the head, norm scale, scanned layers, PReLU, a table's slice."""
    h = params["embed"][tokens] + params["positions"][:LENGTH]
    h = h * params["scale"][None]

    def layer(h, weights):
        return jnp.tanh(h @ weights["w"] + weights["b"][None]), None

    h, _ = jax.lax.scan(layer, h, params["layers"])
    h = jnp.where(h > 0, h, params["slope"] * h) @ (params["base"] + params["a"] @ params["c"])
    logits = h @ params["embed"].T
    return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(LENGTH), tokens])


def make_params():
    shapes = {
        "embed": (WORDS, WIDTH), "positions": (9, WIDTH), "scale": (WIDTH,), "slope": (), "spare": (2,),
        "layers": {"w": (3, WIDTH, WIDTH), "b": (3, WIDTH)}, "base": (WIDTH, WIDTH), "a": (WIDTH, 2), "c": (2, WIDTH),
    }  # fmt: skip
    leaves, treedef = jax.tree.flatten(shapes, is_leaf=lambda x: isinstance(x, tuple))
    rng = np.random.default_rng(1)
    return treedef.unflatten([jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in leaves])


def make_cohort(slots=8):
    return Cohort(jax.random.randint(jax.random.key(2), (slots, LENGTH), 0, WORDS), jnp.arange(slots) < slots - 1)


def explained(**options):
    return explain(example_gradient(loss_fn), make_params(), make_cohort(), KEY, **options)


def difference(a, b):
    flat = [np.concatenate([np.ravel(x) for x in jax.tree.leaves(t)]) for t in (a, b)]
    return np.linalg.norm(flat[0] - flat[1]) / np.linalg.norm(flat[1])


def test_explain_tells_how_each_parameter_is_served():
    plan = explained(microbatch_size=4)
    rows = {row.path: row for row in plan.rows}
    assert (plan.engine, plan.microbatch_size) == ("bookkeeping", 4)
    assert rows["['embed']"].enters == ("gather", "dot_general")
    assert rows["['embed']"].strategy == "gram"
    assert rows["['embed']"].size.positions == 2 * LENGTH
    assert rows["['layers']['w']"].enters == ("dot_general in 1 scan",)
    assert rows["['layers']['w']"].size == Size(3, LENGTH, WIDTH, WIDTH)
    assert rows["['scale']"].strategy == rows["['layers']['b']"].strategy == "kept"
    assert plan.unused == ("['spare']",)
    assert {"['a']", "['base']", "['c']"} <= set(plan.materialized)
    assert {"['embed']", "['scale']", "['layers']['w']", "['positions']"}.isdisjoint(plan.materialized)
    assert "['spare'] never enters the loss" in str(plan)
    assert "['a'] is materialized: its weight is computed from parameters" in str(plan)


def test_only_what_needs_it_is_materialized_when_a_parameter_has_an_unknown_use():
    def sorted_weights(params, x, key):
        return jnp.sum(jnp.sort(x * jnp.maximum(params["odd"], x)) @ params["dense"])

    params = {"odd": jnp.ones(3), "dense": jnp.ones((3, 2))}
    plan = explain(example_gradient(sorted_weights), params, Cohort(jnp.ones((4, 3)), jnp.ones(4, bool)), KEY)
    assert plan.materialized == ("['odd']",)
    assert "max" in plan.rows[1].why


@pytest.fixture(scope="module")
def materialized():
    return jax.jit(clipped_sum(example_gradient(loss_fn), engine="materialize"))(make_params(), make_cohort(), KEY, 0.3)


@pytest.mark.parametrize("strategy", ["gram", "product", "kept"])
def test_all_strategies_give_the_same_numbers(strategy, materialized, monkeypatch):
    params, cohort, expected = make_params(), make_cohort(), materialized
    seen = []

    def forced(size, slots):
        seen.append(strategy)
        return {strategy: 0.0}

    monkeypatch.setattr(planner, "strategy_costs", forced)
    monkeypatch.setattr(planner, "kept_bytes", lambda piece, slots: 0.0)
    out = jax.jit(clipped_sum(example_gradient(loss_fn), engine="bookkeeping"))(params, cohort, KEY, 0.3)
    assert seen
    assert difference(out.total, expected.total) < 1e-5
    np.testing.assert_allclose(out.norms, expected.norms, rtol=1e-5)


def test_products_are_kept_within_the_budget_only():
    def dense(params, x, key):
        return jnp.sum(jnp.tanh(x @ params) ** 2)

    cohort = Cohort(jnp.ones((16, 512, 64)), jnp.ones(16, bool))
    strategies = []
    for budget in (2.0**30, 2.0**18):
        plan = explain(
            example_gradient(dense), jnp.ones((64, 64)), cohort, KEY, memory_budget=budget, microbatch_size=16
        )
        strategies.append(plan.rows[0].strategy)
        assert plan.rows[0].kept_bytes <= budget
    assert strategies[0] == "kept"
    assert strategies[1] != "kept"


def test_a_smaller_budget_means_smaller_microbatches():
    sizes = [explained(memory_budget=b).microbatch_size for b in (2.0**30, 2.0**15, 1.0)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == 8
    assert sizes[-1] == 1


def test_the_cost_model_prefers_gram_for_short_and_products_for_long_sequences():
    def best(size):
        costs = strategy_costs(size, 64)
        return min(costs, key=costs.__getitem__)

    assert best(Size(1, 1, 784, 128)) == "rank_one"
    assert best(Size(1, 16, 384, 384)) == "gram"
    assert best(Size(1, 1024, 64, 64)) == "kept"


def test_places_join_only_when_they_cut_the_parameter_alike():
    dense, flipped, stacked = Axes((), (0,), (1,)), Axes((), (1,), (0,)), Axes((0,), (1,), ())
    assert orient([(dense, "dense"), (flipped, "dense")]) == (dense, (False, True))
    assert orient([(flipped, "dense"), (dense, "picked")]) == (dense, (True, False))
    assert orient([(dense, "dense"), (stacked, "dense")]) is None
    assert orient([(dense, "dense"), (dense, "ones")]) is None


def test_nothing_is_recompiled_for_another_clip_norm_and_lanes_agree():
    traces = 0

    def counted(params, tokens, key):
        nonlocal traces
        traces += 1
        return loss_fn(params, tokens, key)

    step = jax.jit(clipped_sum(example_gradient(counted), engine="bookkeeping", microbatch_size=4))
    params, cohort = make_params(), make_cohort()
    single = [step(params, cohort, KEY, jnp.float32(c)) for c in (0.1, 1.0, 10.0)]
    first = traces
    step(params, cohort, KEY, jnp.float32(3.0))
    assert traces == first
    lanes = jax.jit(jax.vmap(step, in_axes=(None, None, None, 0)))(params, cohort, KEY, jnp.array([0.1, 1.0, 10.0]))
    for i, one in enumerate(single):
        assert difference(jax.tree.map(lambda x, i=i: x[i], lanes.total), one.total) < 1e-6


def test_a_run_in_one_scan_equals_the_microbatch_engine():
    data = jax.random.randint(jax.random.key(5), (40, LENGTH), 0, WORDS)

    def params_after(engine):
        train = make_train(
            lambda key: make_params(), example_gradient(loss_fn), data,
            sampler=poisson_sampler(40, 0.3, num_steps=5), num_steps=5, sum_factory=Summing(engine=Engine(engine)),
            make_optimizer=lambda h: optax.sgd(h.learning_rate),
        )  # fmt: skip
        hparams = HParams(learning_rate=0.5, clip_norm=0.3, noise_multiplier=0.5)
        return jax.jit(train)(hparams, KEY)[0].params

    expected = params_after("microbatch")
    assert difference(params_after("bookkeeping"), expected) < 1e-5
    assert difference(params_after("auto"), expected) < 1e-5


@pytest.mark.usefixtures("optimised")
def test_temporary_memory_stays_near_an_ordinary_steps():
    """No B copies of the weights: within 1.5 times the gradient of the mean loss; a stack takes 10."""

    def dense(params, x, key):
        h = jnp.tanh(x @ params["w"])
        return jnp.sum(jnp.tanh(h @ params["v"]) ** 2)

    params = {"w": jnp.ones((256, 256)), "v": jnp.ones((256, 256))}
    cohort = Cohort(jnp.ones((128, 256)), jnp.ones(128, bool))

    def ordinary(params, x):
        return jax.grad(lambda p: jnp.sum(jax.vmap(partial(dense, p, key=None))(x)))(params)

    floor = jax.jit(ordinary).lower(params, cohort.units).compile().memory_analysis()

    def temporary(engine):
        step = jax.jit(clipped_sum(example_gradient(dense), engine=engine, microbatch_size=128))
        return step.lower(params, cohort, KEY, 1.0).compile().memory_analysis()

    def total(analysis):
        return analysis.temp_size_in_bytes + analysis.output_size_in_bytes

    assert total(temporary("bookkeeping")) <= 1.5 * total(floor)
    assert total(temporary("materialize")) > 10 * total(floor)


def test_what_is_no_gradient_is_served_by_microbatch_and_refused_by_bookkeeping():
    delta = client_delta(lambda w, x, key: jnp.sum((w - x) ** 2), optax.sgd(0.1), num_steps=2)
    from dpjax import UnitData

    cohort = Cohort(UnitData(jnp.ones((3, 2, 4)), jnp.ones((3, 2), bool)), jnp.ones(3, bool))
    assert "microbatch" in str(explain(delta, jnp.zeros(4), cohort, KEY))
    assert jax.jit(clipped_sum(delta))(jnp.zeros(4), cohort, KEY, 1.0).norms.shape == (3,)
    with pytest.raises(TypeError, match=r"needs the gradient of a loss.*use engine=.microbatch"):
        clipped_sum(delta, engine="bookkeeping")(jnp.zeros(4), cohort, KEY, 1.0)


def test_autotune_times_once_and_remembers(tmp_path):
    # The program is small: what is tested is what is remembered.
    small = example_gradient(lambda w, x, key: jnp.sum(jnp.tanh(x @ w)))
    arguments = (small, jnp.ones((3, 2)), Cohort(jnp.ones((8, 3)), jnp.ones(8, bool)), KEY)
    first = autotune(*arguments, microbatch_sizes=[2, 8], rounds=1, cache_dir=tmp_path)
    assert set(first.milliseconds) == {f"{e}/{n}" for e in ("bookkeeping", "microbatch") for n in (2, 8)}
    assert first.milliseconds[f"{first.engine}/{first.microbatch_size}"] == min(first.milliseconds.values())
    (file,) = tmp_path.rglob("*.json")
    before = file.stat().st_ino
    assert autotune(*arguments, microbatch_sizes=[2, 8], rounds=1, cache_dir=tmp_path) == first
    assert file.stat().st_ino == before
    file.write_text("not json")
    assert set(autotune(*arguments, microbatch_sizes=[2, 8], rounds=1, cache_dir=tmp_path).milliseconds) == set(
        first.milliseconds
    )
    autotune(*arguments, microbatch_sizes=[2, 8], rounds=1, cache_dir=tmp_path, rule=per_layer_clipping())
    assert len(list(tmp_path.rglob("*.json"))) == 2  # another rule is another program
    with pytest.raises(ValueError, match="rounds=0"):
        autotune(*arguments, rounds=0, cache_dir=tmp_path)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="what is chosen for a CPU's cache")
def test_where_weights_leave_the_cache_a_pass_takes_more_units():
    def microbatch(width):
        params = [jnp.zeros((width, width)) for _ in range(3)]

        def loss(params, x, key):
            for w in params:
                x = jnp.tanh(x @ w)
            return jnp.sum(x)

        cohort = Cohort(jnp.zeros((64, 2**18 // (8 * width), width)), jnp.ones(64, bool))
        return explain(example_gradient(loss), params, cohort, jax.random.key(0)).microbatch_size

    # Activations of a unit are of one size; weights are 0.2 MiB and 12 MiB.
    assert microbatch(128) == 4
    assert microbatch(1024) == 32


@pytest.mark.usefixtures("optimised")
def test_constant_ids_that_repeat_are_not_folded_while_compiling():
    """Token types and position biases: XLA once folded a table of 512 × 512 ids for more than a minute."""
    cohort = Cohort(jnp.ones((8, 512, 4)), jnp.ones(8, bool))
    loss = example_gradient(lambda table, x, key: jnp.sum(jnp.tanh(table[jnp.zeros(512, jnp.int32)] + x)))
    lowered = jax.jit(clipped_sum(loss, engine="bookkeeping")).lower(
        jnp.ones((1024, 4)), cohort, jax.random.key(0), 1.0
    )
    before = time.process_time()
    lowered.compile()
    assert time.process_time() - before < 15  # measured: 0.8 s
