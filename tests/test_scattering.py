"""Scattering coefficients: those of another implementation, steady under shifts, and of one image only."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from dpjax.models.scattering import scattering, scattering_features

GOLDEN = json.loads((Path(__file__).parent / "golden" / "scattering.json").read_text())
RNG = np.random.default_rng(0)


def waves():
    y, x = np.mgrid[:28, :28] / 27
    return (0.5 + 0.5 * np.sin(9 * x + 4 * y * y) * np.cos(5 * y)).astype(np.float32)[None, :, :, None]


def test_coefficients_are_those_of_kymatio():
    found = np.asarray(scattering(jnp.asarray(waves()), num_groups=0)).reshape(81, 7, 7)[:, 3, 3]
    # Directions are numbered the other way round, so values are compared in order of size.
    np.testing.assert_allclose(np.sort(found), GOLDEN["coefficients"], rtol=2e-2, atol=2e-5)


def test_a_small_shift_moves_coefficients_far_less_than_pixels():
    image = np.zeros((1, 32, 32, 1), np.float32)
    image[0, 12:20, 10:14] = 1.0
    moved = np.roll(image, 1, axis=2)
    here, there = (np.asarray(scattering(jnp.asarray(x), num_groups=0)) for x in (image, moved))
    change = np.linalg.norm(here - there) / np.linalg.norm(here)
    assert change < 0.35 * np.linalg.norm(image - moved) / np.linalg.norm(image)


def test_an_image_does_not_see_the_others_of_its_batch():
    images = RNG.random((5, 28, 28, 1), np.float32)
    alone = scattering_features(images[:1])
    np.testing.assert_allclose(scattering_features(images, batch_size=3)[:1], alone, atol=1e-5)


def test_groups_have_mean_zero_and_variance_one():
    found = np.asarray(scattering(jnp.asarray(100 * RNG.random((2, 28, 28, 1), np.float32)))).reshape(2, 27, -1)
    np.testing.assert_allclose(found.mean(-1), 0, atol=1e-4)
    np.testing.assert_allclose(found.std(-1), 1, atol=1e-3)


def test_channels_follow_one_another():
    image = RNG.random((1, 16, 16, 1), np.float32)
    twice = scattering(jnp.asarray(np.concatenate([image, image], axis=-1)), num_groups=0)
    once = scattering(jnp.asarray(image), num_groups=0)
    np.testing.assert_allclose(twice, np.concatenate([once, once], axis=1), atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "groups", "sentence"),
    [((1, 27, 28, 1), 27, "sides that 2\\*\\*scale=4 divides"), ((1, 28, 28, 1), 10, "must divide the 81 channels")],
)
def test_bad_input_is_named(shape, groups, sentence):
    with pytest.raises(ValueError, match=sentence):
        scattering(jnp.zeros(shape), num_groups=groups)
