"""Lower-triangular Toeplitz encoders: their inverses, their error, and the search for good ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from dpjax.accounting.participation import Participation, column_sum

Floats = NDArray[np.float64]


def square_root(size: int) -> Floats:
    """[size] r_k = binomial(2k, k) / 4^k: the Toeplitz matrix of these, squared, is the prefix sum."""
    steps = np.arange(1, size)
    return np.cumprod(np.concatenate([[1.0], (2 * steps - 1) / (2 * steps)]))


def buffered(weights: Floats, decays: Floats, size: int) -> Floats:
    """[size] first column of the encoder 1, Σ weight, Σ weight decay, Σ weight decay², ..."""
    return np.concatenate([[1.0], weights @ decays[:, None] ** np.arange(size - 1)])


def decoder(column: Floats, num_steps: int) -> Floats:
    """[num_steps] first column of prefix sum × encoder⁻¹, whose rows weigh the noise in each prefix sum."""
    from scipy.signal import lfilter

    return np.asarray(lfilter([1.0], column, np.ones(num_steps)), np.float64)


def optimize_banded(participation: Participation, bands: int, objective: str) -> Floats:
    """[bands] the column of least error among those that are nonnegative and never rise, from its least entry up."""
    falls = -np.diff(square_root(bands), append=0.0)

    def column_of(falls: Floats) -> tuple[Floats, Callable[[Floats], Floats]]:
        return np.cumsum(falls[::-1])[::-1], np.cumsum

    column = _minimize(column_of, falls, [(0.0, None)] * bands, participation, objective)
    return column / column[0]


def optimize_buffered(participation: Participation, buffers: int, objective: str) -> tuple[Floats, Floats]:
    """[buffers] weights and [buffers] decays of the buffered column of least error."""
    size = participation.num_steps
    # 1 / √(π k) is the integral of exp(-k s) / (π √s) over s: nodes at geometric s, from the run's length to one step.
    gaps = np.geomspace(1.0 / size, 0.7, buffers)
    spacing = np.log(0.7 * size) / max(buffers - 1, 1)
    start = np.concatenate([np.log(np.sqrt(gaps) * spacing / np.pi), np.log(gaps)])
    lags = np.arange(size - 1)

    def split(point: Floats) -> tuple[Floats, Floats]:
        return np.exp(point[:buffers]), np.exp(-np.exp(point[buffers:]))

    def column_of(point: Floats) -> tuple[Floats, Callable[[Floats], Floats]]:
        weights, decays = split(point)
        powers = decays[:, None] ** lags

        def pull(gradient: Floats) -> Floats:
            by_weight = powers @ gradient[1:]
            by_decay = weights * (powers @ (lags * gradient[1:]))  # d/d log decay
            return np.concatenate([weights * by_weight, by_decay * np.log(decays)])

        return np.concatenate([[1.0], weights @ powers]), pull

    # Decays from exp(-5) to all but 1, weights of which the first entry after the 1 is below it.
    limits = [(-30.0, -np.log(buffers))] * buffers + [(-18.0, np.log(5.0))] * buffers
    best = _minimize(column_of, start, limits, participation, objective, as_column=False)
    return split(best)


def _minimize(
    column_of: Callable[[Floats], tuple[Floats, Callable[[Floats], Floats]]],
    start: Floats,
    limits: Sequence[tuple[float, float | None]],
    participation: Participation,
    objective: str,
    as_column: bool = True,
) -> Floats:
    """The column (or, if not ``as_column``, its parameters) that minimises error × sensitivity²; deterministic."""
    from scipy.optimize import minimize

    steps = participation.num_steps
    weights = np.arange(steps, 0, -1) / steps if objective == "mean" else np.ones(steps)

    def loss(point: Floats) -> tuple[float, Floats]:
        column, pull = column_of(point)
        value, gradient = _log_loss(column, weights, participation)
        return value, pull(gradient)

    optimum = minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=limits, options={"maxiter": 2000, "ftol": 1e-12, "gtol": 1e-9}
    )
    return column_of(optimum.x)[0] if as_column else optimum.x


def _log_loss(column: Floats, weights: Floats, participation: Participation) -> tuple[float, Floats]:
    """log (Σ weight × decoder² × sensitivity²) and its gradient by the column, for a column that never rises."""
    from scipy.signal import fftconvolve, lfilter

    steps, apart = participation.num_steps, participation.min_separation
    decode = decoder(column, steps)
    error = float(weights @ decode**2)
    # d decode = -(shift d column) * decode / column, as power series.
    quotient = np.asarray(lfilter([1.0], column, decode), np.float64)
    products = fftconvolve(weights * decode, quotient[::-1])[steps - 1 :]
    total = column_sum(column, participation)
    squared = float(total @ total)
    reached = np.zeros(column.size)
    for start in range(0, participation.most * apart, apart):
        part = total[start : start + column.size]
        reached[: part.size] += part
    gradient = -2 * products[: column.size] / error + 2 * reached / squared
    return float(np.log(error) + np.log(squared)), gradient
