"""The scattering transform: fixed wavelet features of an image, on which a linear model is hard to beat under DP."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

_XI, _SIGMA = 3 * math.pi / 4, 0.8  # centre frequency and width of the finest wavelet, in cycles of 2π and pixels
_EPSILON = 1e-5  # added to the variance of a group


def scattering(
    images: Float[Array, "batch height width channels"], *, scale: int = 2, num_angles: int = 8, num_groups: int = 27
) -> Float[Array, "batch features"]:
    """Wavelet scattering coefficients of images, normalised by groups of channels within each image.

    The coefficients of an image x, one channel at a time, are the local means x ∗ φ, |x ∗ ψ_λ| ∗ φ and
    ||x ∗ ψ_λ| ∗ ψ_μ| ∗ φ of Morlet wavelets ψ of ``scale`` octaves and ``num_angles`` directions, μ coarser than λ,
    each sampled every ``2**scale`` pixels.

    Formal guarantees: a fixed function of ONE image: nothing in it is learnt, nor read off the data, so it costs no
    privacy; a shift of the image by less than ``2**scale`` pixels moves the features little.

    Args:
      images: values of any range; sides that ``2**scale`` divides.
      scale: octaves of the wavelets; 2 in the paper.
      num_angles: directions in half a turn.
      num_groups: channels of coefficients are normalised to mean 0 and variance 1 in so many groups per image, over
        pixels and the group's channels; 0: not at all.

    Returns:
      ``channels × (1 + scale·L + L²·scale·(scale−1)/2) × height/2**scale × width/2**scale`` numbers per image, with
      L = ``num_angles``: 81 × 7 × 7 = 3,969 of one of 28×28×1.

    Raises:
      ValueError: sides that ``2**scale`` does not divide, or groups that do not divide the channels.

    Example:
      >>> images = jnp.zeros((2, 28, 28, 1)).at[:, 10:18, 12:16].set(1.0)
      >>> scattering(images).shape
      (2, 3969)

    References:
      Bruna, Mallat, 2013 (https://arxiv.org/abs/1203.1513); Tramèr, Boneh, 2021 (https://arxiv.org/abs/2011.11660).
    """
    batch, height, width, channels = images.shape
    step = 2**scale
    if height % step or width % step:
        raise ValueError(f"scattering: images of {height}×{width} need sides that 2**scale={step} divides; pad them.")
    shape = (height + 2 * step, width + 2 * step)
    wavelets = [_frequencies(shape, _morlet, j, num_angles) for j in range(scale)]
    low = [_low_pass((shape[0] >> j, shape[1] >> j), scale - j) for j in range(scale)]
    padded = jnp.pad(images, ((0, 0), (step, step), (step, step), (0, 0)), mode="reflect")

    def mean(spectrum: Array, level: int) -> Array:
        """Local means of fields at ``2**level`` pixels a sample, at the coarsest sampling and without the padding."""
        field = _inverse(_filtered(spectrum, low[level]), scale - level).real
        return field[..., 1:-1, 1:-1]

    def fields(spectrum: Array, level: int, j: int) -> Array:
        """|field ∗ ψ_j| in every direction, sampled every ``2**j`` pixels: ``[..., angles, h, w]``."""
        filters = wavelets[j] if level == 0 else _periodised(wavelets[j], level) * 4**level
        return jnp.abs(_inverse(_filtered(spectrum[..., None, :, :], filters), j - level))

    def of_channel(channel: Float[Array, "batch h w"]) -> Array:
        spectrum = jnp.fft.fft2(channel)
        features = [mean(spectrum, 0)[:, None]]
        for first in range(scale):
            spectra = jnp.fft.fft2(fields(spectrum, 0, first))
            features.append(mean(spectra, first))
            for second in range(first + 1, scale):
                deeper = jnp.fft.fft2(fields(spectra, first, second))
                features.append(mean(deeper, second).reshape(batch, -1, *features[0].shape[-2:]))
        return jnp.concatenate(features, axis=1)

    coefficients = jnp.concatenate([of_channel(padded[..., c]) for c in range(channels)], axis=1)
    return _normalised(coefficients, num_groups).reshape(batch, -1)


def scattering_features(
    images: np.ndarray,
    *,
    batch_size: int = 256,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> Float[np.ndarray, "rows features"]:
    """``scattering`` of a whole data set, a batch at a time.

    Args:
      images: ``[rows, height, width, channels]`` float32.
      batch_size: images at once.
      progress: hears (done, total).
      **options: of ``scattering``.

    Example:
      >>> scattering_features(np.ones((3, 28, 28, 1), np.float32), num_groups=0).shape
      (3, 3969)
    """
    apply = jax.jit(lambda batch: scattering(batch, **options))
    rows = len(images)
    out: np.ndarray | None = None
    for first in range(0, rows, batch_size):
        # The last batch is filled up, so that it needs no program of its own.
        at = np.minimum(np.arange(first, first + batch_size), rows - 1)
        features = np.asarray(apply(jnp.asarray(images[at])))
        if out is None:
            out = np.empty((rows, features.shape[1]), np.float32)
        out[first : first + batch_size] = features[: rows - first]
        if progress is not None:
            progress(min(first + batch_size, rows), rows)
    return np.empty((0, 0), np.float32) if out is None else out


def _normalised(x: Float[Array, "batch channels h w"], num_groups: int) -> Array:
    if num_groups == 0:
        return x
    if x.shape[1] % num_groups:
        raise ValueError(f"scattering: num_groups={num_groups} must divide the {x.shape[1]} channels of coefficients.")
    grouped = x.reshape(x.shape[0], num_groups, -1)
    centred = grouped - jnp.mean(grouped, axis=-1, keepdims=True)
    variance = jnp.mean(centred**2, axis=-1, keepdims=True)
    return (centred * jax.lax.rsqrt(variance + _EPSILON)).reshape(x.shape)


def _filtered(spectrum: Complex[Array, "*batch h w"], filters: Complex[Array, "*some h w"]) -> Array:
    return spectrum * jnp.expand_dims(filters, tuple(range(spectrum.ndim - filters.ndim)))


def _inverse(spectrum: Complex[Array, "*batch h w"], octaves: int) -> Complex[Array, "*batch hs ws"]:
    """The field of a spectrum, of which every ``2**octaves``-th pixel is kept; the others are never computed."""
    return jnp.fft.ifft2(_periodised(spectrum, octaves))


def _periodised(spectrum: Array, octaves: int) -> Array:
    """The spectrum of every ``2**octaves``-th pixel: aliases add up."""
    k = 2**octaves
    *lead, height, width = spectrum.shape
    folded = spectrum.reshape(*lead, k, height // k, k, width // k)
    return jnp.mean(folded, axis=(-4, -2))


def _frequencies(
    shape: tuple[int, int], make: Callable[..., np.ndarray], j: int, num_angles: int
) -> Complex[Array, "angles h w"]:
    angles = [math.pi * (num_angles // 2 - 1 - k) / num_angles for k in range(num_angles)]
    return jnp.asarray(np.stack([np.fft.fft2(make(shape, j, angle, num_angles)) for angle in angles]), jnp.complex64)


def _morlet(shape: tuple[int, int], j: int, angle: float, num_angles: int) -> np.ndarray:
    """An oriented wave under a Gaussian, made to have mean 0; narrower across where there are more directions."""
    slant, stddev, frequency = 4 / num_angles, _SIGMA * 2**j, _XI / 2**j
    envelope, wave = np.zeros(shape), np.zeros(shape, complex)
    for y, x in _wrapped(shape):
        along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
        here = np.exp(-(along**2 + (slant * across) ** 2) / (2 * stddev**2))
        envelope += here
        wave += here * np.exp(1j * frequency * along)
    norm = 2 * math.pi * stddev**2 / slant
    return (wave - wave.sum() / envelope.sum() * envelope) / norm


def _low_pass(shape: tuple[int, int], octaves: int) -> Complex[Array, "h w"]:
    """The local mean over ``2**octaves`` samples."""
    stddev = _SIGMA * 2.0 ** (octaves - 1)
    bump = np.zeros(shape)
    for y, x in _wrapped(shape):
        bump += np.exp(-(x**2 + y**2) / (2 * stddev**2))
    return jnp.asarray(np.fft.fft2(bump / bump.sum()), jnp.complex64)


def _wrapped(shape: tuple[int, int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Coordinates around the origin and those of the images that periodicity makes of it."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    return [(y - shape[0] * a, x - shape[1] * b) for a in range(-1, 3) for b in range(-1, 3)]
