"""Wrong types and numbers end in one sentence with the argument's name, in every public constructor."""

import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dpjax import Cohort, clipped_sum, example_gradient, poisson_cohort
from dpjax.types import check_cohort, leading_size


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
