"""Checks of numbers hold for every type that a number can have, and under jit."""

import math
import subprocess
import sys
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dpjax import checks

SCALARS = {
    "python": float,
    "int": lambda x: x if isinstance(x, float) and not x.is_integer() else int(x) if math.isfinite(x) else x,
    "float16": np.float16,
    "float32": np.float32,
    "float64": np.float64,
    "numpy 0-d": lambda x: np.array(x),
    "jax": jnp.float32,
    "bfloat16": jnp.bfloat16,
    "fraction": lambda x: Fraction(x) if math.isfinite(x) else x,
}


@pytest.mark.parametrize("make", SCALARS.values(), ids=SCALARS)
def test_every_scalar_type_is_held_to_the_range(make):
    def rate(x):
        return checks.number("rate", make(x), least=0, below=1, fix="lower it")

    assert rate(0.0) == 0
    assert rate(0.5) == 0.5
    assert type(rate(0.5)) is float
    for bad in (-1.0, 1.0, 2.0, math.inf, -math.inf, math.nan):
        with pytest.raises(ValueError, match=r"^rate=.* must be in \[0, 1\); lower it\.$"):
            rate(bad)


@pytest.mark.parametrize(
    "bad", [True, np.True_, jnp.bool_(True), "0.5", b"1", None, [0.5], np.ones(1), jnp.ones(1), 1j]
)
def test_what_is_no_number_is_refused(bad):
    with pytest.raises(ValueError, match=r"^rate=.* must be a number finite and ≥ 0; lower it\.$"):
        checks.number("rate", bad, least=0, fix="lower it")
    with pytest.raises(ValueError, match=r"^steps=.* must be a whole number ≥ 1; lower it\.$"):
        checks.whole_number("steps", bad, fix="lower it")


def test_whole_numbers_of_every_type():
    for good in (3, np.int8(3), np.uint64(3), np.array(3), jnp.int32(3)):
        assert type(checks.whole_number("steps", good, fix="-")) is int
    for fractional in (1.5, 3.0, np.float32(3), jnp.float32(3), math.nan, np.complex64(3)):
        with pytest.raises(ValueError, match="must be a whole number from 1 to 9"):
            checks.whole_number("steps", fractional, most=9, fix="-")
    for outside in (0, -3, 10, np.int64(10), jnp.int32(0), 10**6000):
        with pytest.raises(ValueError, match="must be from 1 to 9"):
            checks.whole_number("steps", outside, most=9, fix="-")
    with pytest.raises(ValueError, match="steps is traced"):
        jax.jit(lambda n: checks.whole_number("steps", n, fix="-"))(3)


def test_an_int_beyond_every_float_is_infinite():
    with pytest.raises(ValueError, match="must be finite and ≥ 0"):
        checks.number("noise", 10**6000, least=0, fix="-")
    assert checks.number("noise", 10**6000, least=0, finite=False, fix="-") == math.inf


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.int32])
def test_what_is_traced_becomes_nan_outside_the_range(dtype):
    check = jax.jit(lambda x: checks.number("z", x, above=0, most=4, fix="-"))
    assert [float(check(dtype(x))) for x in (1, 4)] == [1, 4]
    assert all(math.isnan(check(dtype(x))) for x in (-1, 0, 5))
    spoil = jax.jit(lambda x: checks.spoilt_by(jnp.ones(2), checks.number("z", x, least=0, most=1, fix="-")))
    assert spoil(1.0).tolist() == [1, 1]
    assert jnp.isnan(spoil(2.0)).all()
    assert jnp.isnan(spoil(jnp.nan)).all()


def test_each_lane_of_a_vmap_is_checked_by_itself():
    checked = jax.vmap(lambda x: checks.number("z", x, least=0, fix="-"))(jnp.array([1.0, -1.0, jnp.inf]))
    assert jnp.isnan(checked).tolist() == [False, True, True]


def test_no_jax_is_imported():
    code = "import sys, dpjax.checks as c; c.number('x', 1, least=0, fix='-'); sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
