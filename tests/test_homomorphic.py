"""Homomorphic aggregation: exact sums, a server that cannot read, weights under encryption, honest costs."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dpjax import (
    Cohort,
    HParams,
    Population,
    Summing,
    client_delta,
    clipped_sum,
    fixed_size_sampler,
    make_train,
)
from dpjax.federated import homomorphic_aggregation, iid_partition
from dpjax.federated.aggregation.ckks import ADDING, WEIGHING, homomorphic_sum, make_keys
from tests.problems import ITSELF

ts = pytest.importorskip("tenseal")

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
VECTORS = RNG.uniform(-1, 1, (6, 3000))
PRESENT = np.array([True, True, False, True, True, True])


def test_a_sum_under_encryption_is_the_sum():
    done = homomorphic_sum(VECTORS, PRESENT)
    np.testing.assert_allclose(done.total, VECTORS[PRESENT].sum(0), atol=1e-6)
    weights = np.linspace(0, 1, 6)
    weighed = homomorphic_sum(VECTORS, PRESENT, weights)
    np.testing.assert_allclose(weighed.total, (weights * PRESENT) @ VECTORS, atol=1e-6)
    for sums in (done, weighed):
        assert min(sums.encrypt_seconds, sums.add_seconds, sums.decrypt_seconds) > 0
    # Two ciphertexts of 2 polynomials with 4096 coefficients of 54 bits, packed; two of 8192 with 100 bits.
    assert 2 * 2 * 4096 * 54 / 8 * 0.9 < done.bytes_per_client < 2 * 2 * 4096 * 8 * 1.1
    assert weighed.bytes_per_client > done.bytes_per_client


@pytest.mark.parametrize("parameters", [ADDING, WEIGHING])
def test_the_servers_context_cannot_decrypt(parameters):
    keys = make_keys(parameters)
    assert keys.private.has_secret_key()
    assert not keys.public.has_secret_key()
    cipher = ts.ckks_vector(keys.public, [1.0, 2.0])
    with pytest.raises(ValueError, match="secret_key"):
        cipher.decrypt()
    np.testing.assert_allclose(cipher.decrypt(keys.private.secret_key()), [1, 2], atol=1e-6)


def test_what_is_sent_looks_the_same_whatever_is_in_it():
    """Bytes of a ciphertext, of zeros and of ones: as uniform as each other, and never twice the same."""
    keys = make_keys(ADDING)
    sent = [ts.ckks_vector(keys.public, [value] * 2048).serialize() for value in (0.0, 0.0, 1.0)]
    assert len(set(sent)) == 3
    counts = [np.bincount(np.frombuffer(s[200:], np.uint8), minlength=256) for s in sent]
    spread = [c.std() / c.mean() for c in counts]
    assert max(spread) - min(spread) < 0.03


def test_nobody_and_the_absent_are_not_read():
    assert (homomorphic_sum(VECTORS, np.zeros(6, bool)).total == 0).all()
    spoilt = VECTORS.copy()
    spoilt[2] = np.nan
    np.testing.assert_allclose(homomorphic_sum(spoilt, PRESENT).total, VECTORS[PRESENT].sum(0), atol=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_aggregation_equals_the_plain_sum_to_its_grid(weighted):
    rows = jnp.asarray(RNG.normal(size=(7, 40)), jnp.float32)
    weights = jnp.linspace(0.1, 1, 7) if weighted else None
    cohort = Cohort(rows, jnp.arange(7) != 4, weights)
    plain = clipped_sum(ITSELF)(jnp.zeros(40), cohort, KEY, 0.5)
    levels = 2**12
    out = homomorphic_aggregation(levels=levels)(clipped_sum)(ITSELF)(jnp.zeros(40), cohort, KEY, 0.5)
    error = np.abs(np.asarray(out.total - plain.total)).max()
    assert 0 < error < 0.5 * 6 / levels
    assert float(out.report["aggregation_error"]) == pytest.approx(error / 0.5, rel=1e-3)
    if not weighted:  # exact on the grid
        steps = np.asarray(out.total, np.float64) / 0.5 * levels
        np.testing.assert_allclose(steps, np.rint(steps), atol=1e-2)
    assert float(out.report["uplink_bytes"]) > 10_000


def test_a_run_is_the_plain_run():
    x, y = jnp.asarray(RNG.normal(size=(40, 5)), jnp.float32), jnp.asarray(RNG.normal(size=40), jnp.float32)
    ends = []
    for aggregation in (None, homomorphic_aggregation(), homomorphic_aggregation(dropout_rate=1.0)):
        train = make_train(
            lambda key: jnp.zeros(5),
            client_delta(lambda w, e, k: (e[0] @ w - e[1]) ** 2, optax.sgd(0.05), num_steps=2),
            Population(iid_partition(40, 8, seed=0), (x, y)),
            sampler=fixed_size_sampler(8, 4),
            num_steps=3,
            make_optimizer=lambda h: optax.sgd(1.0),
            sum_factory=Summing(aggregation=aggregation),
        )
        ends.append(jax.jit(train)(HParams(clip_norm=0.5), KEY))
    np.testing.assert_allclose(ends[0][0].params, ends[1][0].params, atol=1e-4)
    assert (ends[2][0].params == 0).all()
    assert int(ends[2][1].steps["dropped"].sum()) == 12
    assert float(ends[1][1].steps["encrypt_seconds"].min()) > 0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: homomorphic_aggregation(levels=0), "levels=0 must be from 1"),
        (lambda: homomorphic_aggregation(dropout_rate=2.0), "dropout_rate=2.0"),
        (lambda: homomorphic_sum(VECTORS * np.nan, PRESENT), "not finite"),
        (lambda: homomorphic_sum(VECTORS, PRESENT, np.full(6, 1.5)), "weights hold 1.5 to 1.5"),
        (
            lambda: homomorphic_aggregation()(clipped_sum)(ITSELF)(
                jnp.zeros(3), Cohort(jnp.ones((2, 3)), jnp.ones(2, bool)), KEY, float("inf")
            ),
            "clip_norm=inf must be finite and ≥ 1e-12; a ciphertext",
        ),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_without_tenseal_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tenseal", None)
    with pytest.raises(ImportError, match=r"pip install 'dpjax\[he\]'"):
        homomorphic_sum(VECTORS, PRESENT)
