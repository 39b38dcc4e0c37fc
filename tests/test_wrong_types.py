"""Wrong types and numbers end in one sentence with the argument's name, in every public constructor."""

import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dpjax import Cohort, clipped_sum, example_gradient, poisson_cohort, user_gradient
from dpjax.buckets import bucketed
from dpjax.contributions import gather_records
from dpjax.sampling import cyclic_cohort, fixed_size_cohort, shuffled_cohort
from dpjax.types import Records, UnitData, check_cohort, leading_size


def test_every_constructor_refuses_wrong_types_and_ranges_in_one_sentence():
    """In a process without the import hook, which would take wrong types before the library sees them."""
    script = Path(__file__).with_name("wrong_types.py")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert int(done.stdout.split()[0]) > 1500


@pytest.mark.parametrize("mask", [np.array([2, 2, 0]), np.array([1.0, 1.0, 0.0]), jnp.array([1, 1, 0], jnp.uint8)])
def test_a_mask_is_of_bools_or_refused(mask):
    """The complement of a mask of integers is no mask: one of twos once dropped every unit."""
    cohort = Cohort(jnp.ones((3, 2)), jnp.asarray(mask != 0))
    assert check_cohort(cohort) is None
    with pytest.raises(TypeError, match=r"mask is of type \w+, but must be an array of bools \[slots\]; write"):
        check_cohort(cohort._replace(mask=mask))


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (lambda w, x: (w * x, x), "beside the loss where a dict of metrics is expected; return the loss, or"),
        (lambda w, x: (w * x, x, x), "3 values where a dict of metrics is expected"),
        (lambda w, x: {"loss": w * x}, "where one example's scalar loss is needed"),
        (lambda w, x: None, "None where one example's scalar loss is needed"),
        (lambda w, x: jnp.stack([w, x]), r"shape \(2,\) where"),
        (lambda w, x: jnp.int32(3), "a loss of type int32, which has no gradient"),
    ],
)
@pytest.mark.parametrize("engine", ["auto", "materialize"])
def test_what_a_loss_may_return_is_said_in_one_sentence(engine, returned, words):
    contribution = example_gradient(lambda w, x, key: returned(w, x))
    with pytest.raises(TypeError, match=rf"^loss_fn returned [^\n]*{words}[^\n]*\.(\n|$)"):
        clipped_sum(contribution, engine=engine)(
            jnp.float32(1), Cohort(jnp.ones(3), jnp.ones(3, bool)), jax.random.key(0), 1.0
        )


@pytest.mark.parametrize("dtype", ["int32", "float32"])
@pytest.mark.parametrize("kind", [UnitData, Records])
def test_a_mask_of_records_is_of_bools(kind, dtype):
    """A record marked 2 would count twice, and ``~1`` is -2."""
    units = kind(jnp.zeros((3, 4), jnp.int32), jnp.full((3, 4), 2, dtype))
    contribution = user_gradient(lambda w, x, key: w * x)
    with pytest.raises(TypeError, match=rf"mask of {kind.__name__} is of type {dtype}, but must be an array of bools"):
        clipped_sum(contribution)(jnp.float32(1), Cohort(units, jnp.ones(3, bool)), jax.random.key(0), 1.0)
    with pytest.raises(TypeError, match="must be an array of bools"):
        bucketed(Records(jnp.zeros((3, 4), jnp.int32), jnp.full((3, 4), 2, dtype)))


def test_numpy_rows_that_a_compiled_function_closes_over_are_gathered():
    rows, unit = np.arange(8, dtype=np.float32), Records(jnp.array([[1, 2], [3, 0]]), jnp.array([[True, True]] * 2))

    @jax.jit
    def drawn(key):
        cohorts = [
            poisson_cohort(key, rows, 1.0, capacity=8),
            fixed_size_cohort(key, rows, size=8),
            shuffled_cohort(key, rows, 0, size=8),
            cyclic_cohort(key, rows, 0, size=8),
        ]
        gathered = gather_records(user_gradient(lambda w, x, key: w * x), rows)
        total = clipped_sum(gathered)(jnp.float32(1), Cohort(unit, jnp.ones(2, bool)), key, 100.0).total
        return [jnp.sum(cohort.units) for cohort, _ in cohorts], total

    assert tuple(map(float, jax.tree.leaves(drawn(jax.random.key(0))))) == (28, 28, 28, 28, 3)


def test_every_leaf_has_the_slots_of_the_mask():
    contribution = example_gradient(lambda w, x, key: jnp.sum(w * x["a"]))
    cohort = Cohort({"a": jnp.ones((3, 2)), "b": jnp.ones((4,))}, jnp.ones(3, bool))
    with pytest.raises(ValueError, match=r"units have leaves of lengths \[3, 4\]; every leaf must be \[slots, ...\]"):
        clipped_sum(contribution)(jnp.ones(2), cohort, jax.random.key(0), 1.0)
    with pytest.raises(ValueError, match=r"mask has shape \(2,\), but units have 3 slots"):
        check_cohort(Cohort(jnp.ones((3, 2)), jnp.ones(2, bool)))


def test_a_leaf_without_a_first_axis_is_named():
    with pytest.raises(
        TypeError, match=r"units\['b'\] is a float, but every leaf must be an array \[population, ...\]"
    ):
        leading_size("units", {"a": np.ones(3), "b": 1.0}, "population")


@pytest.mark.parametrize("rate", [-0.5, 1.5, np.nan])
def test_a_traced_rate_out_of_range_draws_nobody(rate):
    draw = jax.jit(lambda rate: poisson_cohort(jax.random.key(0), jnp.arange(50), rate, capacity=50))
    cohort, info = draw(rate)
    assert not cohort.mask.any()
    assert info.cohort_size == 0
    assert draw(0.5)[1].cohort_size > 10
