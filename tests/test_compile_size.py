"""How large the programs are that a private step becomes: what their compilation costs, and no clock disturbs."""

import jax
import jax.numpy as jnp
import pytest

from benchmarks.step_time.catalogue import WORKS
from benchmarks.step_time.contestants import CONTESTANTS, Variant
from dpjax import Cohort, clipped_sum, example_gradient
from dpjax.noise import gaussian_privatizer
from tests.programs import loops

WIDTH, UNITS = 48, 32


def lowered(contestant, work, microbatch):
    step = CONTESTANTS[contestant].step(work, Variant("plain", microbatch))
    one = jnp.float32(1)
    with jax.numpy_rank_promotion("allow"):  # the work is written as its users write
        return jax.jit(step).lower(work.params, work.frozen, work.units, jax.random.key(0), one, one)


# Measured by jax 0.12.0: 8.2 and 5.5. A tenth more is a regression that somebody should have meant.
@pytest.mark.parametrize(("name", "most"), [("mlp", 9.0), ("cnn", 6.1)])
def test_operations_of_a_private_step_beside_those_of_the_ordinary_one(name, most):
    work = WORKS[name]()
    ours, ordinary = (
        lowered(who, work, size).as_text().count(" = ") for who, size in (("auto", None), ("ordinary", work.batch))
    )
    assert ours / ordinary <= most, f"{ours} operations, {ordinary} of the ordinary step"


def private_step(depth):
    """A step of as many equal layers."""
    layers = [{"w": jnp.full((WIDTH, WIDTH), 0.1), "b": jnp.zeros(WIDTH)} for _ in range(depth)]

    def loss(layers, x, key):
        for layer in layers:
            x = jnp.tanh(x @ layer["w"] + layer["b"])
        return jnp.sum(x)

    def step(layers, units, key):
        cohort = Cohort(units, jnp.ones(UNITS, bool))
        total = clipped_sum(example_gradient(loss), microbatch_size=8)(layers, cohort, key, 1.0).total
        privatizer = gaussian_privatizer(1.0, key)
        noisy, _ = privatizer.update(total, privatizer.init(total))
        return jax.tree.map(lambda p, g: p - 0.1 * g, layers, noisy)

    return jax.jit(step).lower(layers, jnp.ones((UNITS, WIDTH)), jax.random.key(0)).compile()


def test_layers_of_one_shape_bring_few_loops_of_their_own():
    """XLA's CPU backend compiles equal loops once: twice the layers cost no more than their places in a few sums."""
    few, many = (loops(private_step(depth).as_text()) for depth in (4, 8))
    assert len(many) > 1.6 * len(few)
    assert len(set(many)) <= len(set(few)) + 8, f"{len(set(few))} loops of 4 layers, {len(set(many))} of 8"


def test_microbatches_are_added_up_in_place():
    """One set of sums, however many microbatches, and that where the update will lie."""
    table = jnp.zeros((9000, 50))
    contribution = example_gradient(lambda table, ids, key: jnp.sum(jnp.tanh(table[ids])))

    def step(table, ids, key):
        cohort = Cohort(ids, jnp.ones(16, bool))
        return table - 0.1 * clipped_sum(contribution, microbatch_size=4)(table, cohort, key, 1.0).total

    compiled = jax.jit(step).lower(table, jnp.zeros((16, 5), jnp.int32), jax.random.key(0)).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 0.1 * table.nbytes  # 1.01 with a set of their own
