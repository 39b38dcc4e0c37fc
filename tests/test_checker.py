"""The tests' import hook checks types, and shapes where there are arrays, in the library's functions."""

import pytest
from jax import numpy as jnp

from dpjax.checks import brief, in_one_line
from dpjax.clipping.rules import add_up_groups
from dpjax.noise import noise_stddev


def test_a_function_of_no_arrays_has_its_arguments_checked():
    with pytest.raises(TypeError, match="most"):
        in_one_line("words", "3")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="text"):
        in_one_line(3, 3)  # type: ignore[arg-type]
    assert in_one_line("words", 5) == "words"


def test_what_a_function_of_no_arrays_returns_is_checked(monkeypatch):
    monkeypatch.setattr("dpjax.checks.in_one_line", lambda text, most: 3)
    with pytest.raises(TypeError, match="return"):
        brief("words")


def test_shapes_are_checked():
    assert add_up_groups([jnp.ones(3), jnp.ones(3)], (0, 1)).shape == (2, 3)
    with pytest.raises(TypeError, match="squares"):
        add_up_groups([jnp.ones((3, 1))], (0,))
    with pytest.raises(TypeError, match="noise_multiplier"):
        noise_stddev(jnp.ones(2), 1.0)
