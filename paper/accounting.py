"""Rows 1 to 15: published numbers of accounting and auditing, and what this library computes for them."""

import math
from collections.abc import Callable, Iterator, Sequence

from dpjax.accounting import (
    Mechanism,
    Participation,
    calibrate_noise,
    epsilon,
    optimal_toeplitz,
    rdp_epsilon,
    shuffle_epsilon_lower_bound,
    tree_aggregation,
)
from dpjax.auditing import epsilon_from_guesses, epsilon_from_rates
from paper.published import Comparison

TF_ORDERS = [1 + tenth / 10 for tenth in range(1, 100)] + [float(order) for order in range(12, 64)]
ABADI_ORDERS = [float(order) for order in range(2, 33)]
_TUTORIALS = ((1.3, 15), (1.1, 60), (0.7, 45))
_ROUNDING = 0.00501  # half of the last digit that was printed


def accounting_rows(tell: Callable[[int, int], None] = lambda done, total: None) -> list[Comparison]:
    """Every comparison of accounting and auditing, computed anew.

    Args:
      tell: hears (done, total) rows.
    """
    parts = (
        _abadi,
        _tutorials,
        _tf_privacy,
        _opacus,
        _prv,
        _analytic,
        _one_step,
        _shuffle,
        _mcmahan,
        _keyboard,
        _toeplitz,
        _tff,
        _adaptive,
        _audits,
    )
    comparisons: list[Comparison] = []
    for done, part in enumerate(parts):
        tell(done, len(parts))
        comparisons += part()
    tell(len(parts), len(parts))
    return comparisons


def _run(rate: float, noise: float, steps: int, **fields: object) -> Mechanism:
    given = {"unit": "example", "adjacency": "add_or_remove_one", "sampling": "poisson"} | fields
    return Mechanism(**given, sampling_rate=rate, noise_multiplier=noise, num_steps=steps)  # pyright: ignore


def _classic(mechanism: Mechanism, delta: float, orders: Sequence[float]) -> float:
    return rdp_epsilon(mechanism, delta, orders=orders, conversion="classic")


def _abadi() -> Iterator[Comparison]:
    run, source = _run(0.01, 4.0, 10_000), "Abadi et al., 2016"
    setting = "q=.01, noise 4, 10,000 steps, δ=1e-5"
    yield Comparison(1, source, f"{setting}: RDP, old conversion", 1.26, _classic(run, 1e-5, ABADI_ORDERS), _ROUNDING)
    yield Comparison(1, "dp-accounting", f"{setting}: PLD", 0.9470, epsilon(run, 1e-5), 0.002)


def _tutorials() -> Iterator[Comparison]:
    for row, source, cohort, values in (
        (2, "TensorFlow Privacy's tutorials", 256, (1.19, 3.01, 7.10)),
        (3, "Opacus' MNIST example", 240, (1.16, 2.91, 6.86)),
    ):
        for (noise, epochs), value in zip(_TUTORIALS, values, strict=True):
            run = _run(cohort / 60_000, noise, math.ceil(epochs * 60_000 / cohort))
            quantity = f"noise {noise}, {epochs} epochs in cohorts of {cohort}, δ=1e-5: RDP, old conversion"
            yield Comparison(row, source, quantity, value, _classic(run, 1e-5, TF_ORDERS), _ROUNDING)
    run = _run(256 / 60_000, 1.1, 14_063)
    setting = "noise 1.1, 60 epochs in cohorts of 256, δ=1e-5"
    yield Comparison(2, "dp-accounting", f"{setting}: RDP", 2.5967, rdp_epsilon(run, 1e-5, orders=TF_ORDERS), 1e-4)
    yield Comparison(2, "dp-accounting", f"{setting}: PLD", 2.3818, epsilon(run, 1e-5), 0.002)


def _tf_privacy() -> Iterator[Comparison]:
    for population, cohort, noise, epochs, delta, value in (
        (60_000, 150, 1.3, 15, 1e-5, 0.7242234026),
        (100_000, 100, 1.0, 30, 1e-7, 1.4154988495),
    ):
        run = _run(cohort / population, noise, epochs * population // cohort)
        quantity = f"N={population:,}, B={cohort}, noise {noise}, {epochs} epochs, δ={delta:g}: RDP"
        ours = rdp_epsilon(run, delta, orders=TF_ORDERS)
        yield Comparison(4, "TensorFlow Privacy's tests", quantity, value, ours, 1e-8)


def _opacus() -> Iterator[Comparison]:
    run, source = _run(0.04, 1.5, 2250), "Opacus' tests"
    setting = "q=.04, noise 1.5, 2,250 steps, δ=1e-5"
    ours = rdp_epsilon(run, 1e-5, orders=TF_ORDERS)
    yield Comparison(5, source, f"{setting}: RDP", 7.3291112, ours, 1e-6)
    yield Comparison(5, source, f"{setting}: PLD", 6.7688, epsilon(run, 1e-5), 0.003)
    for accountant, value, tolerance in (("rdp", 1.4159, 2e-4), ("pld", 1.3460, 4e-4)):
        noise = calibrate_noise(run, epsilon=8.0, delta=1e-5, accountant=accountant)
        yield Comparison(
            5, source, f"noise for ε=8, q=.04, 2,250 steps, δ=1e-5: {accountant.upper()}", value, noise, tolerance
        )


def _prv() -> Iterator[Comparison]:
    run, setting = _run(0.005, 0.8, 1000), "q=.005, noise .8, 1,000 steps, δ=1e-6"
    yield Comparison(6, "PRV accountant", f"{setting}: PLD", 2.0041, epsilon(run, 1e-6), 0.002)
    ours = rdp_epsilon(run, 1e-6, orders=TF_ORDERS)
    yield Comparison(6, "PRV accountant", f"{setting}: RDP", 2.6265, ours, 1e-4)


def _analytic() -> Iterator[Comparison]:
    source = "Balle and Wang, 2018"
    gaussian = _run(1.0, 1.0, 1, sampling="full")
    noise = calibrate_noise(gaussian, epsilon=1.0, delta=1e-5)
    yield Comparison(7, source, "noise of one Gaussian for ε=1, δ=1e-5", 3.7306316, noise, 1e-6)
    at = epsilon(gaussian, 0.12693674)
    yield Comparison(7, source, "ε of one Gaussian of noise 1 at δ=.12693674", 1.0, at, 1e-6)


def _one_step() -> Iterator[Comparison]:
    noise = calibrate_noise(_run(0.01, 1.0, 1), epsilon=1.0, delta=1e-5)
    yield Comparison(8, "dp-accounting", "noise of one step, q=.01, ε=1, δ=1e-5", 0.67379295, noise, 1e-7)


def _shuffle() -> Iterator[Comparison]:
    source, setting = "Chua et al., 2024", "noise .5, one epoch of 10,000 steps, δ=1e-6"
    shuffled = shuffle_epsilon_lower_bound(0.5, 10_000, 1e-6)
    yield Comparison(9, source, f"{setting}: shuffled, at least", 10.9948, shuffled, 0.002)
    poisson = epsilon(_run(1e-4, 0.5, 10_000, adjacency="zero_out"), 1e-6)
    yield Comparison(9, source, f"{setting}: Poisson", 1.955, poisson, 0.005)


def _mcmahan() -> Iterator[Comparison]:
    run = _run(5000 / 763_430, 1.0, 5000, unit="user")
    ours = _classic(run, 1e-9, ABADI_ORDERS)
    quantity = "5,000 of 763,430 users, noise 1, 5,000 rounds, δ=1e-9: RDP, old conversion"
    yield Comparison(10, "McMahan et al., 2018", quantity, 4.634, ours, 5e-4)


def _keyboard() -> Iterator[Comparison]:
    noise = tree_aggregation(Participation(num_steps=2000, max_participations=6, min_separation=313))
    source = "DP-FTRL on the production keyboard"
    yield Comparison(11, source, "squared sensitivity", 79.0, noise.sensitivity**2, 1e-6)
    run = Mechanism(
        unit="client",
        adjacency="zero_out",
        sampling="cyclic",
        sampling_rate=1 / 334,  # 2,000 rounds make 6 cycles begun
        population=334_000,
        noise_multiplier=7 / noise.sensitivity,
        num_steps=2000,
        factorization=noise,
    )
    yield Comparison(11, source, "zCDP of noise 7", 0.8061, 1 / (2 * run.noise_multiplier**2), 5.1e-5)
    ours = rdp_epsilon(run, 1e-10, orders=TF_ORDERS)
    yield Comparison(11, source, "ε at δ=1e-10: RDP", 8.8986, ours, 5.1e-5)


def _toeplitz() -> Iterator[Comparison]:
    for steps, value, tolerance in ((512, 3.05184086, 5.1e-9), (1024, 3.272554, 5.1e-7)):
        noise = optimal_toeplitz(Participation(steps, 1, steps))
        quantity = f"squared sensitivity over {steps:,} steps"
        yield Comparison(12, "Fichtenberger et al., 2023", quantity, value, noise.sensitivity**2, tolerance)


def _tff() -> Iterator[Comparison]:
    run = _run(120 / 3383, 1.2, 100, unit="client")
    ours = rdp_epsilon(run, 1e-5, orders=TF_ORDERS)
    yield Comparison(
        13,
        "TensorFlow Federated's tutorial",
        "120 of 3,383 clients, noise 1.2, 100 rounds, δ=1e-5: RDP",
        1.9861,
        ours,
        5.1e-5,
    )


def _adaptive() -> Iterator[Comparison]:
    from dpjax.clipping.adaptive import adaptive_clipping, split_noise

    noise, _ = split_noise(adaptive_clipping(), 1.0, 100.0)
    yield Comparison(14, "Andrew et al., 2021", "noise of the sum, z=1, 100 clients", 1.0050378, float(noise), 1e-6)


def _audits() -> Iterator[Comparison]:
    ours = epsilon_from_rates(500, 500, 0, 500, confidence=0.99)
    yield Comparison(15, "Clopper and Pearson", "500 of 500 runs told apart, 99 %", 4.54191581, ours, 1e-7)
    for canaries, guesses, right, delta, value in (
        (100, 100, 75, 0.0, 0.702214),
        (100, 100, 75, 1e-4, 0.699467),
        (1000, 100, 75, 1e-4, 0.672985),
    ):
        quantity = f"one run, {right} of {guesses} guesses right, {canaries:,} canaries, δ={delta:g}"
        ours = epsilon_from_guesses(canaries, guesses, right, delta=delta)
        yield Comparison(15, "Steinke et al., 2023", quantity, value, ours, 5.1e-7)
